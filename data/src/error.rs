//! What can go wrong between a file and the pixels that a network sees.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the data path. Each message names the file or the operation, the place, what was
/// expected, what was found, and what to do about it. Where an error has a
/// [`source`](std::error::Error::source), that tells the reason, and the message does not repeat it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open or read a file.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// The operating system refused to write a file. Nothing of it was left behind.
    #[error("cannot write {}: {what}", .path.display())]
    Write {
        /// The file that should have been written.
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A folder was given where a file is needed.
    #[error("{} is a folder: {expected}", .path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What was expected in its place, and what to do.
        expected: &'static str,
    },

    /// The folder that an output file should go to does not exist.
    #[error("cannot write {}: the folder {} does not exist; create it first", .path.display(), .folder.display())]
    NoFolder {
        /// The file that should have been written.
        path: PathBuf,
        /// Its missing folder.
        folder: PathBuf,
    },

    /// The file has no bytes at all.
    #[error("{name} is empty (0 bytes), so it is not an image")]
    EmptyFile {
        /// The file, or what the caller called the bytes.
        name: String,
    },

    /// The file is larger than the limit.
    #[error(
        "{name} is larger than {limit} bytes; if it is meant to be, raise the limit \
         (`Limits::max_bytes`)"
    )]
    TooManyBytes {
        /// The file.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },

    /// The first bytes belong to no image format.
    #[error(
        "{name} is not an image: it starts with {start}, which is none of JPEG, PNG, WebP, BMP, \
         GIF and TIFF"
    )]
    NotAnImage {
        /// The file.
        name: String,
        /// Its first bytes, made printable.
        start: String,
    },

    /// An image, of a kind that cannot be decoded.
    #[error("{name}: {what} is not supported; convert the picture to PNG or an ordinary JPEG")]
    Unsupported {
        /// The file.
        name: String,
        /// The format or the feature of it.
        what: String,
    },

    /// The file ends before the picture does.
    #[error(
        "{name}: the {format} picture is truncated: the file ends after {bytes} bytes, before the \
         picture is complete ({detail})"
    )]
    Truncated {
        /// The file.
        name: String,
        /// The image format.
        format: &'static str,
        /// The length of the file in bytes.
        bytes: usize,
        /// What was missing.
        detail: String,
    },

    /// The file contradicts its format.
    #[error("{name}: the {format} picture is damaged: {detail}")]
    Corrupt {
        /// The file.
        name: String,
        /// The image format.
        format: &'static str,
        /// The decoder's complaint.
        detail: String,
    },

    /// A picture without pixels.
    #[error("{name}: {rows} x {cols} pixels; a picture needs at least one row and one column")]
    NoPixels {
        /// The file or the operation.
        name: String,
        /// Rows of the picture.
        rows: usize,
        /// Columns of the picture.
        cols: usize,
    },

    /// The picture has more pixels than the limit allows; nothing of it was decoded.
    #[error(
        "{name}: the header says {rows} rows x {cols} columns, {pixels} pixels, more than the \
         limit of {limit}; if it is meant to be that large, raise the limit \
         (`--max-pixels {pixels}`, or `Limits::max_pixels`)"
    )]
    TooManyPixels {
        /// The file.
        name: String,
        /// Rows that the header announces.
        rows: usize,
        /// Columns that the header announces.
        cols: usize,
        /// Their product.
        pixels: u64,
        /// The limit in pixels.
        limit: u64,
    },

    /// One side of the picture is longer than the limit allows; nothing of it was decoded.
    #[error(
        "{name}: the header says {rows} rows x {cols} columns, more than the limit of {limit} a \
         side; if it is meant to be that long, raise `Limits::max_side`"
    )]
    SideTooLong {
        /// The file.
        name: String,
        /// Rows that the header announces.
        rows: usize,
        /// Columns that the header announces.
        cols: usize,
        /// The limit in pixels.
        limit: u32,
    },

    /// A pixel buffer of the wrong length.
    #[error(
        "a picture of {rows} rows x {cols} columns x {channels} channels has {expected} values, \
         but {got} were given"
    )]
    BufferLength {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Channels asked for.
        channels: usize,
        /// Their product.
        expected: usize,
        /// The length of the buffer.
        got: usize,
    },

    /// A number of channels that the operation cannot handle.
    #[error("{operation} needs {expected}, but got {got} channels")]
    Channels {
        /// The operation.
        operation: &'static str,
        /// What it can handle.
        expected: &'static str,
        /// What it got.
        got: usize,
    },

    /// A crop that reaches outside the picture.
    #[error(
        "a crop of {rows} x {cols} at row {top}, column {left} does not fit into a picture of \
         {image_rows} rows x {image_cols} columns"
    )]
    Crop {
        /// First row of the crop.
        top: usize,
        /// First column of the crop.
        left: usize,
        /// Rows of the crop.
        rows: usize,
        /// Columns of the crop.
        cols: usize,
        /// Rows of the picture.
        image_rows: usize,
        /// Columns of the picture.
        image_cols: usize,
    },

    /// Two pictures that must have one shape have two.
    #[error("{operation}: expected [rows, cols, channels] = {expected:?}, but got {got:?}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The shape expected.
        expected: [usize; 3],
        /// The shape found.
        got: [usize; 3],
    },

    /// The picture is so elongated that what would be made of it is enormous.
    #[error(
        "a picture of {rows} rows x {cols} columns would become {target_rows} x {target_cols} to \
         cover the network's input, more than the limit of {limit} pixels for {whole_rows} x \
         {whole_cols}; {advice}"
    )]
    Elongated {
        /// Rows of the picture.
        rows: usize,
        /// Columns of the picture.
        cols: usize,
        /// Rows it would have.
        target_rows: usize,
        /// Columns it would have.
        target_cols: usize,
        /// Rows that have to be covered.
        whole_rows: usize,
        /// Columns that have to be covered.
        whole_cols: usize,
        /// The most pixels allowed.
        limit: usize,
        /// What to do about it.
        advice: &'static str,
    },

    /// A network geometry that contradicts itself.
    #[error("impossible network geometry: {detail}")]
    Geometry {
        /// The contradiction.
        detail: String,
    },

    /// The output of the scan layer is smaller than the window that the next layer expects.
    #[error(
        "the scan layer's output is {output:?} [rows, cols], smaller than the next layer's input \
         {window:?}"
    )]
    Window {
        /// Rows and columns of the scan layer's output.
        output: [usize; 2],
        /// Rows and columns of the window.
        window: [usize; 2],
    },

    /// A protocol name that does not exist.
    #[error("unknown protocol `{name}`; choose one of {choices}")]
    UnknownProtocol {
        /// The name given.
        name: String,
        /// The names that exist.
        choices: String,
    },

    /// A list file with a line that cannot be understood.
    #[error("{}, line {line}: {detail}", .path.display())]
    List {
        /// The list file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what was expected.
        detail: String,
    },

    /// A class label that the network, or the list of class names, has no class for.
    #[error("{place}: class label {label} is out of range: expected {expected}")]
    Label {
        /// The file and the line, or the picture.
        place: String,
        /// The label as written there.
        label: u32,
        /// The labels that there are.
        expected: String,
    },

    /// A set of labelled pictures that cannot be used as it is.
    #[error("{}: {detail}", .path.display())]
    Dataset {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        detail: String,
    },

    /// A file of raw pictures, labels or matrices that contradicts its format.
    #[error("{}: {place}: {detail}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The part of the file.
        place: String,
        /// What is wrong with it, and what was expected.
        detail: String,
    },

    /// A picture whose work ended in a panic.
    #[error("{name}: working on it failed unexpectedly: {detail}")]
    Panicked {
        /// The picture.
        name: String,
        /// What the panic said.
        detail: String,
    },

    /// A recipe, or an option of the loader or of `prepare`, that makes no sense.
    #[error("{what}: expected {expected}, but got {got}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it was.
        got: String,
    },

    /// The operating system refused to start a thread.
    #[error("cannot start a worker thread")]
    Thread {
        /// The reason.
        source: std::io::Error,
    },

    /// A `.npy` file that cannot be understood.
    #[error("{name}: {place}: {detail}")]
    Npy {
        /// The file.
        name: String,
        /// The part of the file.
        place: &'static str,
        /// What is wrong with it, and what was expected.
        detail: String,
    },

    /// A font that cannot be used.
    #[error("the font cannot be read: {detail}")]
    Font {
        /// The reason.
        detail: String,
    },

    /// A drawing would be too large.
    #[error(
        "the drawing would have {rows} rows x {cols} columns, more than {limit} pixels; choose a \
         smaller zoom or fewer tiles"
    )]
    Drawing {
        /// Rows that it would have.
        rows: usize,
        /// Columns that it would have.
        cols: usize,
        /// The most pixels that are drawn.
        limit: u64,
    },

    /// Outputs would go among the inputs.
    #[error("cannot write into {}: {detail}; name another folder or file", .path.display())]
    AmongInputs {
        /// Where they would go.
        path: PathBuf,
        /// What of the inputs is there.
        detail: String,
    },
}
