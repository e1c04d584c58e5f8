//! `striate visualize`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use striate::image::render::{TileOptions, TileSection, draw_heat, draw_tiles};
use striate::image::{Image, Limits, output as files};
use striate::importers::AnyModel;
use striate::nn::Network;
use striate::visualize::{self, Contrast};
use striate::{Classifier, Occlusion, OcclusionMap};

use crate::args::{Format, Global, ReadArgs, positive};
use crate::error::{Error, Result};
use crate::inputs;
use crate::output::{Output, dims};
use crate::outputs::{Destination, Files};
use crate::progress::Progress;
use crate::{draw, labels, model};

/// Options of `striate visualize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --image: the kernels of the first convolution, one tile each. Grey is 0, brighter is
positive, darker negative, in each colour of the input. A network that has learnt shows edges and
blobs of colour there; noise means that it has not.

With --image: what the layers put out for the centre of a photo, one tile a channel. Black is 0, red
to yellow positive, blue negative. The photo is formed as the model says, see `striate classify
--help`.

With --image and --occlusion: a grey square slides over the photo, and where the probability of the
class drops, the photo glows: there is what the network looks at (Zeiler and Fergus, 2014).

Examples:
  striate visualize -o filters.png                              the embedded model's first filters
  striate visualize vgg-d.sqlite3 -o filters.png
  striate visualize vgg-d.sqlite3 --image photo.jpg -o all.png  all convolutions
  striate visualize vgg-d.sqlite3 --image photo.jpg --layer 4 --scale common -o layer-4.png
  striate visualize --image samples/cat.png --occlusion -o heat.png
  striate visualize vgg-d.sqlite3 --image photo.jpg --occlusion --class 285 --size 48 -o heat.png")]
pub(crate) struct VisualizeArgs {
    /// The model file; `-` is standard input [default: the embedded one].
    model: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// The PNG file to write; `-` is standard output.
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Show the layers' outputs for this photo, not the filters; `-` is standard input.
    #[arg(short, long, value_name = "PHOTO")]
    image: Option<PathBuf>,
    /// A layer whose output is shown, from 0 (see `striate inspect`); may be given several times
    /// [default: every convolution].
    #[arg(long, value_name = "N", requires = "image", conflicts_with = "occlusion")]
    layer: Vec<usize>,
    /// Show which parts of the photo a class depends on.
    #[arg(long, requires = "image")]
    occlusion: bool,
    /// The class to watch, from 0 [default: the likeliest].
    #[arg(long, value_name = "ID", requires = "occlusion")]
    class: Option<usize>,
    /// The side of the sliding square, in pixels of the network's input [default: a seventh of it].
    #[arg(long, value_name = "PIXELS", requires = "occlusion", value_parser = positive::<usize>())]
    size: Option<usize>,
    /// How far the square slides each time; smaller is finer and slower [default: a quarter of its
    /// side].
    #[arg(long, value_name = "PIXELS", requires = "occlusion", value_parser = positive::<usize>())]
    stride: Option<usize>,
    /// Which tiles share a scale of brightness.
    #[arg(long, value_enum, default_value_t = Scale::Each, conflicts_with = "occlusion")]
    scale: Scale,
    /// Pixels a side of each pixel of a tile [default: what makes the picture about 960 wide].
    #[arg(long, value_name = "N", conflicts_with = "occlusion", value_parser = clap::value_parser!(u16).range(1..))]
    zoom: Option<u16>,
    /// Refuse photos of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
}

/// Which tiles share a scale of brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// Each has its own: weak ones are seen as well as strong ones.
    Each,
    /// All of a layer have one: they can be compared.
    Common,
}

impl From<Scale> for Contrast {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Each => Contrast::Each,
            Scale::Common => Contrast::Common,
        }
    }
}

/// What was written, as one line of JSON.
#[derive(Serialize)]
struct Report {
    file: String,
    rows: usize,
    cols: usize,
    #[serde(flatten)]
    shown: Shown,
}

/// What the picture shows.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "shows")]
enum Shown {
    Filters { filters: usize, shape: [usize; 3] },
    Activations { layers: Vec<Layer> },
    Occlusion(Heat),
}

#[derive(Serialize)]
struct Layer {
    layer: usize,
    kind: &'static str,
    shape: [usize; 3],
}

#[derive(Serialize)]
struct Heat {
    class: usize,
    label: Option<String>,
    confidence: f32,
    /// The lowest confidence with the square over the photo, and the square's first row and col.
    lowest: f32,
    lowest_at: [usize; 2],
    size: usize,
    stride: usize,
    views: usize,
}

/// Draws, and tells what was written.
pub(crate) fn run(args: &VisualizeArgs, global: &Global, output: &mut Output) -> Result<()> {
    draw::check_name(&args.output).map_err(Error::Usage)?;
    let mut all = Files::default();
    all.reads("model", args.model.as_deref());
    all.reads("photo", args.image.as_deref());
    all.writes("--output", &*args.output);
    all.check()?;
    let to = Destination::of_whole(&args.output, "a PNG picture", true)?;
    to.check_report(output)?;
    let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };
    let photo = args.image.as_ref().map(|path| inputs::picture(path, &limits)).transpose()?;
    let model = inputs::model_or_usual(args.model.as_deref(), &args.read)?;
    let device = global.device()?;
    let (picture, shown) = match &photo {
        None => filters(args, &model::load(&model, None, &device)?)?,
        Some(photo) if args.occlusion => {
            let model = model::load_any(&model, None, &device)?;
            occlusion(args, model, photo, output.quiet()).map_err(|error| match &args.model {
                Some(model) if error.is_of_the_model() => {
                    Error::because(inputs::shown(model).to_string(), error)
                }
                _ => error,
            })?
        }
        Some(photo) => activations(args, &model::load(&model, None, &device)?, photo)?,
    };
    to.write(&files::png(&picture)?)?;
    if to.is_stdout() {
        return Ok(());
    }
    let file = args.output.display().to_string();
    let (rows, cols) = (picture.rows(), picture.cols());
    if output.format() == Format::Json {
        return output.json(&Report { file, rows, cols, shown });
    }
    let what = match shown {
        Shown::Filters { filters, shape } => format!("{filters} filters of {}", dims(&shape)),
        Shown::Activations { layers } => match &layers[..] {
            [one] => format!("layer {} ({}), {}", one.layer, one.kind, dims(&one.shape)),
            _ => format!("{} layers", layers.len()),
        },
        Shown::Occlusion(heat) => {
            let [row, col] = heat.lowest_at;
            format!(
                "{} at {}, at lowest {} with {} x {} pixels covered from row {row}, column {col}",
                name(&heat.label, heat.class),
                percent(heat.confidence),
                percent(heat.lowest),
                heat.size,
                heat.size,
            )
        }
    };
    output.done(&format!("wrote {file}: {cols} x {rows} pixels: {what}"))
}

fn tile_options(args: &VisualizeArgs) -> TileOptions {
    TileOptions { zoom: args.zoom.map(usize::from), ..TileOptions::default() }
}

/// An error about the photo, with its name.
fn about(args: &VisualizeArgs, error: striate::Error) -> Error {
    match &args.image {
        Some(path) => inputs::about_picture(path, error),
        None => error.into(),
    }
}

fn filters(args: &VisualizeArgs, network: &Network) -> Result<(Image, Shown)> {
    let tiles = visualize::first_filters(network, args.scale.into())?;
    let filters = tiles.len();
    let shape = tiles.first().map_or([0; 3], Image::shape);
    let section = TileSection { caption: String::new(), tiles };
    Ok((draw_tiles(&[section], &tile_options(args))?, Shown::Filters { filters, shape }))
}

fn activations(args: &VisualizeArgs, network: &Network, photo: &Image) -> Result<(Image, Shown)> {
    let layers = match &args.layer[..] {
        [] => visualize::convolutions(network),
        given => given.to_vec(),
    };
    if layers.is_empty() {
        let all = network.spec().nodes.len();
        return Err(Error::message(format!(
            "the network has no convolution among its {all} layers; choose one with --layer N"
        )));
    }
    let view = visualize::centre_view(network, photo).map_err(|e| about(args, e))?;
    let activations = visualize::activations(network, &view, &layers, args.scale.into())?;
    let mut sections = Vec::with_capacity(activations.len());
    let mut layers = Vec::with_capacity(activations.len());
    for activation in activations {
        let (layer, kind, shape) = (activation.layer, activation.kind.name(), activation.shape);
        if activation.not_finite > 0 {
            log::warn!(
                "{} of {} outputs of layer {layer} ({kind}) are not finite (NaN or infinite): the \
                 network's numbers overflow",
                activation.not_finite,
                shape.iter().product::<usize>()
            );
        }
        let caption = format!("layer {layer}, {kind}: {}", dims(&shape));
        sections.push(TileSection { caption, tiles: activation.tiles });
        layers.push(Layer { layer, kind, shape });
    }
    Ok((draw_tiles(&sections, &tile_options(args))?, Shown::Activations { layers }))
}

fn occlusion(
    args: &VisualizeArgs,
    model: AnyModel,
    photo: &Image,
    quiet: bool,
) -> Result<(Image, Shown)> {
    let options = Occlusion { class: args.class, size: args.size, stride: args.stride };
    let mut progress: Option<Progress> = None;
    let mut before = 0;
    let map = Classifier::of_model(model)?.occlusion(photo, &options, |done, all| {
        progress.get_or_insert_with(|| Progress::new(all, quiet)).advance(done - before);
        before = done;
    });
    let map = map.map_err(|e| about(args, e))?;
    drop(progress);
    let OcclusionMap { class, label, confidence, lowest, lowest_at, size, stride, views, .. } = map;
    let title = format!("{}: {}", name(&label, class), percent(confidence));
    labels::warn_of_boxes([title.as_str()]);
    let picture = draw_heat(&map.view, &map.drop, &title)?;
    let heat = Heat { class, label, confidence, lowest, lowest_at, size, stride, views };
    Ok((picture, Shown::Occlusion(heat)))
}

fn name(label: &Option<String>, class: usize) -> String {
    label.clone().unwrap_or_else(|| draw::nameless(class))
}

fn percent(confidence: f32) -> String {
    format!("{:.1} %", confidence * 100.0)
}
