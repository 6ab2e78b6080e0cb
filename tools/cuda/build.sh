#!/usr/bin/env bash
# Builds for CUDA on a machine without a GPU or a CUDA toolkit: see --help.
set -euo pipefail

# CUDA 13.0: the compiler, its headers, and the libraries that candle links.
packages=(
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvrtc==13.0.88
    nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35
)

usage() {
    cat <<'TEXT'
Usage: tools/cuda/build.sh [FOLDER] [-- COMMAND...]

Builds film-tools and the tests with `--features cuda`, in release mode, on x86-64 Linux
without a GPU or a CUDA toolkit. The compiler and the libraries of CUDA 13.0 are installed
as Python wheels (1.2 GB) below FOLDER, target/cuda unless given; a second call takes what
is there and builds what has changed.

  FOLDER/release/film-tools   the program
  FOLDER/release/deps         the tests: device-*, cli-*
  FOLDER/lib                  the libraries they load: ../lib or ../../lib of a program

To run them elsewhere, take lib along in its place, or have the libraries of CUDA 13 on
LD_LIBRARY_PATH. The driver is looked for when a program starts: without one it computes
on the CPU as ever, and `--device cuda` says what is missing.

With a COMMAND, that is run instead, in the environment in which cargo builds for CUDA:

  tools/cuda/build.sh -- cargo clippy --features cuda

Environment:
  CUDA_COMPUTE_CAP   the oldest GPU to build for [default: 90, an H100; 80 is an A100]
  PYTHON             the Python whose pip installs the wheels [default: python3]

Needs Rust, gcc (at most 15, which nvcc asks for) and Python with pip.
TEXT
}

fail() {
    echo "error: $1" >&2
    exit "${2-1}"
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=$root/target/cuda
if [[ ${1-} == --help || ${1-} == -h ]]; then
    usage
    exit
fi
if (($#)) && [[ $1 != -* ]]; then
    folder=$1
    shift
fi
# Both the tests' programs stand in release/deps, the tools' beside it.
command=(
    cargo test --no-run --release --locked --package film-core --package film-tools
    --features film-core/cuda,film-tools/cuda --test device --test cli
)
if (($#)); then
    [[ $1 == -- && $# -gt 1 ]] || fail "expected [FOLDER] [-- COMMAND...], found $1; see --help" 2
    command=("${@:2}")
fi
[[ $(uname -sm) == "Linux x86_64" ]] || fail "builds on x86-64 Linux, and this is $(uname -sm)"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
toolkit=$folder/toolkit/nvidia/cu13

# The list of what is installed is written last: what an interrupted call left is not taken for the whole.
if [[ $(cat "$folder/toolkit/packages" 2>/dev/null) != "${packages[*]}" ]]; then
    rm -rf "$folder/toolkit"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --no-deps --no-compile --only-binary :all: --target "$folder/toolkit" "${packages[@]}"
    # The linker looks for names without a version; the runtime goes into the program.
    for library in cublas cublasLt curand nvrtc; do
        ln -s "$(basename "$toolkit/lib/lib$library.so."*)" "$toolkit/lib/lib$library.so"
    done
    ln -s libcudart_static.a "$toolkit/lib/libcudart.a"
    echo "${packages[*]}" >"$folder/toolkit/packages"
fi
ln -sfn toolkit/nvidia/cu13/lib "$folder/lib"

# In place of the driver: its functions, by the names that cuda.h makes of those it declares, and two of another header.
{
    echo '#include <cuda.h>' | gcc -E -I"$toolkit/include" - | grep -oE '\bcu[A-Z][A-Za-z0-9_]*\('
    printf '%s(\n' cuProfilerStart cuProfilerStop
} | sed 's/\(.*\)(/X(\1)/' | sort -u >"$toolkit/functions.h"
gcc -O2 -fPIC -Wall -Werror -I"$toolkit" -c "$here/driver.c" -o "$toolkit/driver.o"
rm -f "$toolkit/lib/libcuda.a"
ar rcs "$toolkit/lib/libcuda.a" "$toolkit/driver.o"

export CUDA_HOME=$toolkit PATH=$toolkit/bin:$PATH CARGO_TARGET_DIR=$folder
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export RUSTFLAGS="${RUSTFLAGS-} -C link-arg=-Wl,-rpath,\$ORIGIN/../lib:\$ORIGIN/../../lib"
if (($# == 0)); then
    cd "$root"
fi
exec "${command[@]}"
