//! The names of functions, classes and dtypes that pickles call for.
//!
//! A name is compared with these lists and never looked up: nothing is imported, nothing runs.

use safetensors::Dtype;

/// What a storage or tensor consists of, by PyTorch's names.
#[derive(Debug, PartialEq)]
pub(super) struct Element {
    /// `torch.{name}`.
    pub(super) name: &'static str,
    /// `torch.{storage}`, if there is such a class.
    storage: &'static str,
    /// Bytes an element.
    pub(super) bytes: u64,
    /// Bytes whose order depends on the machine.
    pub(super) word: usize,
    /// As safetensors has it, if it does.
    pub(super) dtype: Option<Dtype>,
}

const fn element(
    name: &'static str,
    storage: &'static str,
    bytes: u64,
    dtype: Option<Dtype>,
) -> Element {
    Element { name, storage, bytes, word: bytes as usize, dtype }
}

static ELEMENTS: [Element; 27] = [
    element("float32", "FloatStorage", 4, Some(Dtype::F32)),
    element("bfloat16", "BFloat16Storage", 2, Some(Dtype::BF16)),
    element("float16", "HalfStorage", 2, Some(Dtype::F16)),
    element("float64", "DoubleStorage", 8, Some(Dtype::F64)),
    element("int64", "LongStorage", 8, Some(Dtype::I64)),
    element("int32", "IntStorage", 4, Some(Dtype::I32)),
    element("int16", "ShortStorage", 2, Some(Dtype::I16)),
    element("int8", "CharStorage", 1, Some(Dtype::I8)),
    element("uint8", "ByteStorage", 1, Some(Dtype::U8)),
    element("bool", "BoolStorage", 1, Some(Dtype::BOOL)),
    // Two numbers, each with its bytes in the machine's order.
    Element {
        name: "complex64",
        storage: "ComplexFloatStorage",
        bytes: 8,
        word: 4,
        dtype: Some(Dtype::C64),
    },
    element("complex128", "ComplexDoubleStorage", 16, None),
    element("qint8", "QInt8Storage", 1, None),
    element("quint8", "QUInt8Storage", 1, None),
    element("qint32", "QInt32Storage", 4, None),
    element("quint4x2", "QUInt4x2Storage", 1, None),
    element("quint2x4", "QUInt2x4Storage", 1, None),
    // Those without a storage class of their own.
    element("uint16", "", 2, Some(Dtype::U16)),
    element("uint32", "", 4, Some(Dtype::U32)),
    element("uint64", "", 8, Some(Dtype::U64)),
    element("float8_e4m3fn", "", 1, Some(Dtype::F8_E4M3)),
    element("float8_e5m2", "", 1, Some(Dtype::F8_E5M2)),
    element("float8_e4m3fnuz", "", 1, Some(Dtype::F8_E4M3FNUZ)),
    element("float8_e5m2fnuz", "", 1, Some(Dtype::F8_E5M2FNUZ)),
    element("float8_e8m0fnu", "", 1, Some(Dtype::F8_E8M0)),
    element("float4_e2m1fn_x2", "", 1, None),
    element("untyped", "UntypedStorage", 1, None),
];

/// The elements of a storage class: `torch.FloatStorage`, `torch.cuda.FloatStorage`,
/// `torch.storage.UntypedStorage`.
pub(super) fn storage_class(name: &str) -> Option<&'static Element> {
    let (module, class) = name.rsplit_once('.')?;
    let known = matches!(module, "torch" | "torch.cuda" | "torch.storage") && !class.is_empty();
    ELEMENTS.iter().find(|element| known && element.storage == class)
}

/// A dtype: `torch.float32`.
pub(super) fn dtype(name: &str) -> Option<&'static Element> {
    let name = name.strip_prefix("torch.")?;
    ELEMENTS.iter().find(|element| element.name == name)
}

/// A name as today's Python has it.
pub(super) fn full_name(module: &str, name: &str) -> String {
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        other => other,
    };
    format!("{module}.{name}")
}

/// Classes of plain data that checkpoints are known to keep beside the weights.
const INERT: [&str; 36] = [
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.object",
    "builtins.range",
    "builtins.slice",
    "collections.deque",
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
    "fractions.Fraction",
    "functools.partial",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.Generator",
    "torch.device",
    "torch.serialization._get_layout",
    "types.SimpleNamespace",
    "uuid.UUID",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning_utilities.core.enums.StrEnum",
    "pytorch_lightning.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
];

/// Modules of nothing but plain data: paths, and Hydra's configurations.
const INERT_MODULES: [&str; 6] = [
    "omegaconf.base",
    "omegaconf.dictconfig",
    "omegaconf.listconfig",
    "omegaconf.nodes",
    "pathlib",
    "pathlib._local",
];

/// Whether objects made by calling this are plain data.
pub(super) fn is_inert(name: &str) -> bool {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    INERT.contains(&name) || INERT_MODULES.contains(&module)
}

/// Modules whose functions start programs or run code; `builtins` beyond what is listed above is one.
const RUNS_CODE: [&str; 16] = [
    "builtins",
    "code",
    "ctypes",
    "importlib",
    "marshal",
    "nt",
    "operator",
    "os",
    "pickle",
    "posix",
    "pty",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
];

/// Whether calling this is how an attack begins.
pub(super) fn runs_code(name: &str) -> bool {
    RUNS_CODE.contains(&name.split('.').next().unwrap_or_default())
}
