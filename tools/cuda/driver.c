// Linked in place of libcuda, the driver's library: each of its functions jumps to the driver's own, which is looked for when
// the program starts. So a program starts on a machine without a driver too, where all functions, cuInit first, return what
// NVIDIA's own stand-in for linking returns.
//
// functions.h has a line X(name) for each function.
#include <dlfcn.h>
#include <stddef.h>

enum { CUDA_ERROR_STUB_LIBRARY = 34 };

static int missing(void) { return CUDA_ERROR_STUB_LIBRARY; }

#define X(name)                                                                                     \
    __attribute__((visibility("hidden"))) int (*to_##name)(void) = missing;                         \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ": jmp *to_" #name "(%rip)");
#include "functions.h"
#undef X

__attribute__((constructor)) static void find_driver(void) {
    void *const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver == NULL) {
        return;
    }
    void *function;
#define X(name)                                                                                     \
    function = dlsym(driver, #name);                                                                \
    if (function != NULL) {                                                                         \
        to_##name = (int (*)(void))function;                                                        \
    }
#include "functions.h"
#undef X
}
