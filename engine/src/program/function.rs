//! The 18 intrinsic functions of spec/asl.md 9, by number.

/// Which function a call calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Array,
    ArrayContains,
    ArrayGetItem,
    ArrayLength,
    ArrayPartition,
    ArrayRange,
    ArrayUnique,
    Base64Decode,
    Base64Encode,
    Format,
    Hash,
    JsonMerge,
    JsonToString,
    MathAdd,
    MathRandom,
    StringSplit,
    StringToJson,
    Uuid,
}

impl Function {
    /// Most arguments of a function that does not take any number of them.
    pub(crate) const ARGUMENTS_MAX: u32 = 3;

    /// Arguments of a Format, its template included, up to which they are kept in registers and on the stack.
    pub(crate) const FORMAT_ARGUMENTS_MAX: u32 = 8;

    /// The function with this name, without `States.`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Array" => Self::Array,
            "ArrayContains" => Self::ArrayContains,
            "ArrayGetItem" => Self::ArrayGetItem,
            "ArrayLength" => Self::ArrayLength,
            "ArrayPartition" => Self::ArrayPartition,
            "ArrayRange" => Self::ArrayRange,
            "ArrayUnique" => Self::ArrayUnique,
            "Base64Decode" => Self::Base64Decode,
            "Base64Encode" => Self::Base64Encode,
            "Format" => Self::Format,
            "Hash" => Self::Hash,
            "JsonMerge" => Self::JsonMerge,
            "JsonToString" => Self::JsonToString,
            "MathAdd" => Self::MathAdd,
            "MathRandom" => Self::MathRandom,
            "StringSplit" => Self::StringSplit,
            "StringToJson" => Self::StringToJson,
            "UUID" => Self::Uuid,
            _ => return None,
        })
    }

    /// Whether its result, made from `arguments` arguments, and the work towards it take no cells of the slot's memory: a scalar, or a part of an argument.
    pub(crate) fn takes_no_cells(self, arguments: u32) -> bool {
        match self {
            Self::ArrayContains
            | Self::ArrayGetItem
            | Self::ArrayLength
            | Self::Base64Decode
            | Self::Base64Encode
            | Self::Hash
            | Self::JsonToString
            | Self::MathAdd
            | Self::MathRandom
            | Self::Uuid => true,
            Self::Format => arguments <= Self::FORMAT_ARGUMENTS_MAX,
            Self::Array | Self::ArrayPartition | Self::ArrayRange | Self::ArrayUnique | Self::JsonMerge | Self::StringSplit | Self::StringToJson => false,
        }
    }

    /// Whether it takes any number of arguments.
    pub(crate) fn is_variadic(self) -> bool {
        matches!(self, Self::Array | Self::Format)
    }
}
