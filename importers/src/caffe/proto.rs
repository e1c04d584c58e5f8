//! The messages of Caffe's files: the fields that matter here, by their names in text and their numbers
//! in binary. Other fields of a binary file are skipped; in text a field that might change what a layer
//! computes is an error.

use super::prototxt::Field;
use super::text::{Record, Slot};
use crate::Result;

/// Defines messages that are read from protobuf's binary form and from its text. Each field has a type,
/// prost's attributes and, for an enumeration, the names of its values.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $message:ident, ignoring $ignored:expr, {
            $($field:ident $(as $text:literal)?: $type:ty, ($($prost:tt)*) $(of $names:expr)?;)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct $message {
            $(#[prost($($prost)*)] pub(super) $field: $type,)*
        }

        impl Record for $message {
            const IGNORED: &'static [&'static str] = &$ignored;

            fn set(&mut self, file: &str, field: &Field) -> Result<bool> {
                $(
                    if field.name == name!($field $($text)?) {
                        self.$field.put(file, field, names!($($names)?))?;
                        return Ok(true);
                    }
                )*
                Ok(false)
            }
        }
    )*};
}

macro_rules! name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $text:literal) => {
        $text
    };
}

macro_rules! names {
    () => {
        &[]
    };
    ($names:expr) => {
        &$names
    };
}

pub(super) const PHASES: [&str; 2] = ["TRAIN", "TEST"];
pub(super) const TEST: i32 = 1;

/// Methods of pooling.
pub(super) const POOLS: [&str; 3] = ["MAX", "AVE", "STOCHASTIC"];
/// How the number of windows is rounded.
pub(super) const ROUNDINGS: [&str; 2] = ["CEIL", "FLOOR"];
/// What local response normalization sums over.
pub(super) const REGIONS: [&str; 2] = ["ACROSS_CHANNELS", "WITHIN_CHANNEL"];
/// Element-wise operations.
pub(super) const OPERATIONS: [&str; 3] = ["PROD", "SUM", "MAX"];

/// The types of layers by their numbers in old files: the name there, and the name in newer files.
pub(super) const V1_TYPES: [(&str, &str); 40] = [
    ("NONE", ""),
    ("ACCURACY", "Accuracy"),
    ("BNLL", "BNLL"),
    ("CONCAT", "Concat"),
    ("CONVOLUTION", "Convolution"),
    ("DATA", "Data"),
    ("DROPOUT", "Dropout"),
    ("EUCLIDEAN_LOSS", "EuclideanLoss"),
    ("FLATTEN", "Flatten"),
    ("HDF5_DATA", "HDF5Data"),
    ("HDF5_OUTPUT", "HDF5Output"),
    ("IM2COL", "Im2col"),
    ("IMAGE_DATA", "ImageData"),
    ("INFOGAIN_LOSS", "InfogainLoss"),
    ("INNER_PRODUCT", "InnerProduct"),
    ("LRN", "LRN"),
    ("MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    ("POOLING", "Pooling"),
    ("RELU", "ReLU"),
    ("SIGMOID", "Sigmoid"),
    ("SOFTMAX", "Softmax"),
    ("SOFTMAX_LOSS", "SoftmaxWithLoss"),
    ("SPLIT", "Split"),
    ("TANH", "TanH"),
    ("WINDOW_DATA", "WindowData"),
    ("ELTWISE", "Eltwise"),
    ("POWER", "Power"),
    ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    ("HINGE_LOSS", "HingeLoss"),
    ("MEMORY_DATA", "MemoryData"),
    ("ARGMAX", "ArgMax"),
    ("THRESHOLD", "Threshold"),
    ("DUMMY_DATA", "DummyData"),
    ("SLICE", "Slice"),
    ("MVN", "MVN"),
    ("ABSVAL", "AbsVal"),
    ("SILENCE", "Silence"),
    ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
    ("EXP", "Exp"),
    ("DECONVOLUTION", "Deconvolution"),
];

const V1_NAMES: [&str; 40] = {
    let mut names = [""; 40];
    let mut at = 0;
    while at < names.len() {
        names[at] = V1_TYPES[at].0;
        at += 1;
    }
    names
};

const ALL: [&str; 1] = ["*"];

messages! {
    /// A network.
    Net, ignoring ALL, {
        name: Option<String>, (string, optional, tag = "1");
        v1 as "layers": Vec<V1Layer>, (message, repeated, tag = "2");
        input: Vec<String>, (string, repeated, tag = "3");
        input_dim: Vec<i32>, (int32, repeated, tag = "4");
        state: Option<State>, (message, optional, tag = "6");
        input_shape: Vec<Extents>, (message, repeated, tag = "8");
        layer: Vec<Layer>, (message, repeated, tag = "100");
    }

    /// What a network is built for.
    State, ignoring [], {
        phase: Option<i32>, (int32, optional, tag = "1") of PHASES;
        level: Option<i32>, (int32, optional, tag = "2");
        stage: Vec<String>, (string, repeated, tag = "3");
    }

    /// When a layer is part of a network.
    Rule, ignoring [], {
        phase: Option<i32>, (int32, optional, tag = "1") of PHASES;
        min_level: Option<i32>, (int32, optional, tag = "2");
        max_level: Option<i32>, (int32, optional, tag = "3");
        stage: Vec<String>, (string, repeated, tag = "4");
        not_stage: Vec<String>, (string, repeated, tag = "5");
    }

    /// Extents of an array.
    Extents, ignoring [], {
        dim: Vec<i64>, (int64, repeated, tag = "1");
    }

    /// A layer.
    Layer, ignoring ALL, {
        name: Option<String>, (string, optional, tag = "1");
        kind as "type": Option<String>, (string, optional, tag = "2");
        bottom: Vec<String>, (string, repeated, tag = "3");
        top: Vec<String>, (string, repeated, tag = "4");
        include: Vec<Rule>, (message, repeated, tag = "8");
        exclude: Vec<Rule>, (message, repeated, tag = "9");
        transform_param: Option<Transform>, (message, optional, tag = "100");
        concat_param: Option<Concat>, (message, optional, tag = "104");
        convolution_param: Option<Convolution>, (message, optional, tag = "106");
        dropout_param: Option<Dropout>, (message, optional, tag = "108");
        eltwise_param: Option<Eltwise>, (message, optional, tag = "110");
        exp_param: Option<Exponent>, (message, optional, tag = "111");
        inner_product_param: Option<InnerProduct>, (message, optional, tag = "117");
        lrn_param: Option<Lrn>, (message, optional, tag = "118");
        memory_data_param: Option<MemoryData>, (message, optional, tag = "119");
        pooling_param: Option<Pooling>, (message, optional, tag = "121");
        power_param: Option<Power>, (message, optional, tag = "122");
        relu_param: Option<Relu>, (message, optional, tag = "123");
        softmax_param: Option<Softmax>, (message, optional, tag = "125");
        slice_param: Option<Slice>, (message, optional, tag = "126");
        prelu_param: Option<Prelu>, (message, optional, tag = "131");
        reshape_param: Option<Reshape>, (message, optional, tag = "133");
        log_param: Option<Exponent>, (message, optional, tag = "134");
        flatten_param: Option<Flatten>, (message, optional, tag = "135");
        batch_norm_param: Option<BatchNorm>, (message, optional, tag = "139");
        elu_param: Option<Elu>, (message, optional, tag = "140");
        bias_param: Option<Bias>, (message, optional, tag = "141");
        scale_param: Option<Scale>, (message, optional, tag = "142");
        input_param: Option<Input>, (message, optional, tag = "143");
        swish_param: Option<Swish>, (message, optional, tag = "147");
        clip_param: Option<Clip>, (message, optional, tag = "148");
    }

    /// A layer as old files have it.
    V1Layer, ignoring ALL, {
        v0 as "layer": Option<V0Layer>, (message, optional, tag = "1");
        bottom: Vec<String>, (string, repeated, tag = "2");
        top: Vec<String>, (string, repeated, tag = "3");
        name: Option<String>, (string, optional, tag = "4");
        kind as "type": Option<i32>, (int32, optional, tag = "5") of V1_NAMES;
        concat_param: Option<Concat>, (message, optional, tag = "9");
        convolution_param: Option<Convolution>, (message, optional, tag = "10");
        dropout_param: Option<Dropout>, (message, optional, tag = "12");
        inner_product_param: Option<InnerProduct>, (message, optional, tag = "17");
        lrn_param: Option<Lrn>, (message, optional, tag = "18");
        pooling_param: Option<Pooling>, (message, optional, tag = "19");
        power_param: Option<Power>, (message, optional, tag = "21");
        memory_data_param: Option<MemoryData>, (message, optional, tag = "22");
        eltwise_param: Option<Eltwise>, (message, optional, tag = "24");
        relu_param: Option<Relu>, (message, optional, tag = "30");
        slice_param: Option<Slice>, (message, optional, tag = "31");
        include: Vec<Rule>, (message, repeated, tag = "32");
        exclude: Vec<Rule>, (message, repeated, tag = "33");
        transform_param: Option<Transform>, (message, optional, tag = "36");
        softmax_param: Option<Softmax>, (message, optional, tag = "39");
        exp_param: Option<Exponent>, (message, optional, tag = "41");
    }

    /// A layer as the first files had it, within another message. It is not read.
    V0Layer, ignoring ALL, {
        name: Option<String>, (string, optional, tag = "1");
    }

    /// What is done to pictures before a network sees them.
    Transform, ignoring ALL, {
        scale: Option<f32>, (float, optional, tag = "1");
        crop_size: Option<u32>, (uint32, optional, tag = "3");
        mean_file: Option<String>, (string, optional, tag = "4");
        mean_value: Vec<f32>, (float, repeated, tag = "5");
        force_gray: Option<bool>, (bool, optional, tag = "7");
    }

    MemoryData, ignoring ALL, {
        channels: Option<u32>, (uint32, optional, tag = "2");
        height: Option<u32>, (uint32, optional, tag = "3");
        width: Option<u32>, (uint32, optional, tag = "4");
    }

    Input, ignoring [], {
        shape: Vec<Extents>, (message, repeated, tag = "1");
    }

    Convolution, ignoring ["weight_filler", "bias_filler", "engine", "force_nd_im2col"], {
        num_output: Option<u32>, (uint32, optional, tag = "1");
        bias_term: Option<bool>, (bool, optional, tag = "2");
        pad: Vec<u32>, (uint32, repeated, tag = "3");
        kernel_size: Vec<u32>, (uint32, repeated, tag = "4");
        group: Option<u32>, (uint32, optional, tag = "5");
        stride: Vec<u32>, (uint32, repeated, tag = "6");
        pad_h: Option<u32>, (uint32, optional, tag = "9");
        pad_w: Option<u32>, (uint32, optional, tag = "10");
        kernel_h: Option<u32>, (uint32, optional, tag = "11");
        kernel_w: Option<u32>, (uint32, optional, tag = "12");
        stride_h: Option<u32>, (uint32, optional, tag = "13");
        stride_w: Option<u32>, (uint32, optional, tag = "14");
        axis: Option<i32>, (int32, optional, tag = "16");
        dilation: Vec<u32>, (uint32, repeated, tag = "18");
    }

    InnerProduct, ignoring ["weight_filler", "bias_filler"], {
        num_output: Option<u32>, (uint32, optional, tag = "1");
        bias_term: Option<bool>, (bool, optional, tag = "2");
        axis: Option<i32>, (int32, optional, tag = "5");
        transpose: Option<bool>, (bool, optional, tag = "6");
    }

    Pooling, ignoring ["engine"], {
        pool: Option<i32>, (int32, optional, tag = "1") of POOLS;
        kernel_size: Option<u32>, (uint32, optional, tag = "2");
        stride: Option<u32>, (uint32, optional, tag = "3");
        pad: Option<u32>, (uint32, optional, tag = "4");
        kernel_h: Option<u32>, (uint32, optional, tag = "5");
        kernel_w: Option<u32>, (uint32, optional, tag = "6");
        stride_h: Option<u32>, (uint32, optional, tag = "7");
        stride_w: Option<u32>, (uint32, optional, tag = "8");
        pad_h: Option<u32>, (uint32, optional, tag = "9");
        pad_w: Option<u32>, (uint32, optional, tag = "10");
        global_pooling: Option<bool>, (bool, optional, tag = "12");
        round_mode: Option<i32>, (int32, optional, tag = "13") of ROUNDINGS;
    }

    Lrn, ignoring ["engine"], {
        local_size: Option<u32>, (uint32, optional, tag = "1");
        alpha: Option<f32>, (float, optional, tag = "2");
        beta: Option<f32>, (float, optional, tag = "3");
        norm_region: Option<i32>, (int32, optional, tag = "4") of REGIONS;
        k: Option<f32>, (float, optional, tag = "5");
    }

    Relu, ignoring ["engine"], {
        negative_slope: Option<f32>, (float, optional, tag = "1");
    }

    Prelu, ignoring ["filler"], {
        channel_shared: Option<bool>, (bool, optional, tag = "2");
    }

    Elu, ignoring [], {
        alpha: Option<f32>, (float, optional, tag = "1");
    }

    Swish, ignoring [], {
        beta: Option<f32>, (float, optional, tag = "1");
    }

    Clip, ignoring [], {
        min: Option<f32>, (float, optional, tag = "1");
        max: Option<f32>, (float, optional, tag = "2");
    }

    BatchNorm, ignoring ["moving_average_fraction"], {
        use_global_stats: Option<bool>, (bool, optional, tag = "1");
        eps: Option<f32>, (float, optional, tag = "3");
    }

    Scale, ignoring ["filler", "bias_filler"], {
        axis: Option<i32>, (int32, optional, tag = "1");
        num_axes: Option<i32>, (int32, optional, tag = "2");
        bias_term: Option<bool>, (bool, optional, tag = "4");
    }

    Bias, ignoring ["filler"], {
        axis: Option<i32>, (int32, optional, tag = "1");
        num_axes: Option<i32>, (int32, optional, tag = "2");
    }

    Eltwise, ignoring ["stable_prod_grad"], {
        operation: Option<i32>, (int32, optional, tag = "1") of OPERATIONS;
        coeff: Vec<f32>, (float, repeated, tag = "2");
    }

    Concat, ignoring [], {
        concat_dim: Option<u32>, (uint32, optional, tag = "1");
        axis: Option<i32>, (int32, optional, tag = "2");
    }

    Slice, ignoring [], {
        slice_dim: Option<u32>, (uint32, optional, tag = "1");
        slice_point: Vec<u32>, (uint32, repeated, tag = "2");
        axis: Option<i32>, (int32, optional, tag = "3");
    }

    Flatten, ignoring [], {
        axis: Option<i32>, (int32, optional, tag = "1");
        end_axis: Option<i32>, (int32, optional, tag = "2");
    }

    Reshape, ignoring [], {
        shape: Option<Extents>, (message, optional, tag = "1");
        axis: Option<i32>, (int32, optional, tag = "2");
        num_axes: Option<i32>, (int32, optional, tag = "3");
    }

    Power, ignoring [], {
        power: Option<f32>, (float, optional, tag = "1");
        scale: Option<f32>, (float, optional, tag = "2");
        shift: Option<f32>, (float, optional, tag = "3");
    }

    /// Of exponentials and of logarithms.
    Exponent, ignoring [], {
        base: Option<f32>, (float, optional, tag = "1");
        scale: Option<f32>, (float, optional, tag = "2");
        shift: Option<f32>, (float, optional, tag = "3");
    }

    Softmax, ignoring ["engine"], {
        axis: Option<i32>, (int32, optional, tag = "2");
    }

    Dropout, ignoring ALL, {
        dropout_ratio: Option<f32>, (float, optional, tag = "1");
    }

    /// An array, without its elements.
    BlobHeader, ignoring ALL, {
        num: Option<i32>, (int32, optional, tag = "1");
        channels: Option<i32>, (int32, optional, tag = "2");
        height: Option<i32>, (int32, optional, tag = "3");
        width: Option<i32>, (int32, optional, tag = "4");
        shape: Option<Extents>, (message, optional, tag = "7");
    }
}

impl From<V1Layer> for Layer {
    fn from(old: V1Layer) -> Self {
        let kind = old.kind.and_then(|kind| V1_TYPES.get(usize::try_from(kind).ok()?));
        let unknown = || old.kind.map(|kind| format!("type {kind}"));
        Layer {
            name: old.name,
            kind: kind.map(|(_, name)| (*name).to_owned()).or_else(unknown),
            bottom: old.bottom,
            top: old.top,
            include: old.include,
            exclude: old.exclude,
            transform_param: old.transform_param,
            concat_param: old.concat_param,
            convolution_param: old.convolution_param,
            dropout_param: old.dropout_param,
            eltwise_param: old.eltwise_param,
            exp_param: old.exp_param,
            inner_product_param: old.inner_product_param,
            lrn_param: old.lrn_param,
            memory_data_param: old.memory_data_param,
            pooling_param: old.pooling_param,
            power_param: old.power_param,
            relu_param: old.relu_param,
            softmax_param: old.softmax_param,
            slice_param: old.slice_param,
            ..Layer::default()
        }
    }
}
