//! JPEG against libjpeg's own program: files made by `cjpeg`, `jpegtran` and ImageMagick's `convert`
//! over samplings, scan scripts, restart intervals, qualities and colours, decoded here and by
//! `djpeg`. Without those programs (Debian: libjpeg-turbo-progs, imagemagick) nothing is compared,
//! unless `STRIATE_REQUIRE_DJPEG` is set: then their absence is an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::Write;
use std::process::{Command, Stdio};

use striate_data::{Error, Image, decode};

/// Runs a program on standard input, and gives its standard output; none where it cannot be run or
/// fails.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let input = input.to_vec();
    // A program that stops early closes the pipe: its exit code tells.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().ok()?;
    let _ = writer.join();
    output.status.success().then_some(output.stdout)
}

/// What a program says of its version.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().next()?.to_owned())
}

/// A part of a picture that has edges, gradients and noise, so that every rounding shows.
fn scene(rows: usize, cols: usize, seed: usize) -> Vec<u8> {
    let mut noise = seed as u32 * 7919 + 1;
    let mut ppm = format!("P6\n{cols} {rows}\n255\n").into_bytes();
    for row in 0..rows {
        for col in 0..cols {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 28) as usize;
            let disc = (row * 2).abs_diff(rows).pow(2) + (col * 2).abs_diff(cols).pow(2);
            let inside = disc < (rows.min(cols)).pow(2) / 2;
            let wave = (row * (3 + seed % 5) + col * 7) % 256;
            let red = if inside { 230 - grain } else { wave };
            let green = (col * 255 / cols + grain).min(255);
            let blue = if (row / 6 + col / 9).is_multiple_of(2) { 20 + grain } else { 255 - wave };
            ppm.extend([red as u8, green as u8, blue as u8]);
        }
    }
    ppm
}

/// A picture to cut from: a photo of the shared data where it is there.
fn source(seed: usize) -> Vec<u8> {
    let photos = ["china.jpg", "flower.jpg", "rocket.jpg"];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/photos");
    let photo = std::fs::read(folder.join(photos[seed % photos.len()])).ok();
    let ppm = photo.and_then(|bytes| run("djpeg", &["-ppm"], &bytes));
    ppm.unwrap_or_else(|| scene(240, 320, seed))
}

/// A binary PNM: rows, columns, channels and values.
fn pnm(bytes: &[u8]) -> ([usize; 3], &[u8]) {
    let mut at = 0;
    let mut fields = Vec::new();
    while fields.len() < 4 {
        let start = at + bytes[at..].iter().position(|b| !b.is_ascii_whitespace()).unwrap();
        at = start + bytes[start..].iter().position(u8::is_ascii_whitespace).unwrap();
        fields.push(std::str::from_utf8(&bytes[start..at]).unwrap());
    }
    let channels = if fields[0] == "P6" { 3 } else { 1 };
    let side = |index: usize| fields[index].parse().unwrap();
    ([side(2), side(1), channels], &bytes[at + 1..])
}

/// The part of a PPM that starts at its top left.
fn cut(ppm: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let ([_, width, _], values) = pnm(ppm);
    let mut part = format!("P6\n{cols} {rows}\n255\n").into_bytes();
    // Not quite the corner, which is sky.
    for row in 60..60 + rows {
        part.extend_from_slice(&values[(row * width + 50) * 3..][..cols * 3]);
    }
    part
}

#[derive(Default)]
struct Tally {
    compared: usize,
    equal: usize,
    worst: u8,
    unsupported: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    /// Compares one file with what libjpeg makes of it.
    fn take(&mut self, what: &str, jpeg: &[u8]) {
        let Some(want) = run("djpeg", &["-pnm"], jpeg) else {
            return self.wrong.push(format!("{what}: djpeg refuses it"));
        };
        let (shape, want) = pnm(&want);
        self.expect(what, jpeg, shape, want);
    }

    fn expect(&mut self, what: &str, jpeg: &[u8], shape: [usize; 3], want: &[u8]) {
        match decode::decode(jpeg, what) {
            Ok(image) if image.shape() != shape || want.len() != image.values().len() => {
                self.wrong.push(format!("{what}: {:?} for {shape:?}", image.shape()));
            }
            Ok(image) => {
                let pairs = image.values().iter().zip(want);
                let off = pairs.map(|(got, want)| got.abs_diff(*want)).max().unwrap_or_default();
                self.compared += 1;
                self.equal += usize::from(off == 0);
                self.worst = self.worst.max(off);
                if off > 2 {
                    self.wrong.push(format!("{what}: off by {off}"));
                }
            }
            Err(Error::Unsupported { .. }) => self.unsupported.push(what.to_owned()),
            Err(error) => self.wrong.push(format!("{what}: {error}")),
        }
    }
}

/// Scan scripts by name: what `cjpeg -scans` and `jpegtran -scans` take.
const SCRIPTS: [(&str, &str); 9] = [
    ("one scan each", "0;1;2;"),
    ("chroma first", "1;2;0;"),
    ("chroma together first", "1 2;0;"),
    ("luma, then chroma", "0;1 2;"),
    ("two and one", "0 1;2;"),
    ("DC apart", "0: 0-0,0,0;1: 0-0,0,0;2: 0-0,0,0;0: 1-63,0,0;1: 1-63,0,0;2: 1-63,0,0;"),
    ("backwards", "2: 0-0,0,0;1: 0-0,0,0;0: 0-0,0,0;2: 1-63,0,0;1: 1-63,0,0;0: 1-63,0,0;"),
    (
        "bit by bit",
        "0 1 2: 0-0,0,2;1: 1-63,0,1;2: 1-63,0,2;0: 1-5,0,2;0: 6-63,0,2;0 1 2: 0-0,2,1;\
         0: 1-63,2,1;2: 1-63,2,1;0 1 2: 0-0,1,0;0: 1-63,1,0;1: 1-63,1,0;2: 1-63,1,0;",
    ),
    (
        "bands",
        "0 1 2: 0-0,0,0;0: 1-2,0,0;0: 3-9,0,0;0: 10-63,0,0;2: 1-20,0,0;2: 21-63,0,0;1: 1-63,0,0;",
    ),
];

const SAMPLINGS: [&str; 18] = [
    "1x1",
    "2x1",
    "1x2",
    "2x2",
    "4x1",
    "1x4",
    "4x2",
    "2x4",
    "1x1,2x1,2x1",
    "1x1,2x2,2x2",
    "1x1,1x2,1x1",
    "2x2,2x1,1x2",
    "2x2,1x1,2x2",
    "2x2,2x2,1x1",
    "3x1",
    "1x3",
    "4x1,2x1,1x1",
    "2x1,2x1,2x1",
];

#[test]
fn pixels_are_libjpegs() {
    let missing = ["cjpeg", "djpeg", "jpegtran"].iter().find(|p| version(p, "-version").is_none());
    if let Some(program) = missing {
        assert!(
            std::env::var_os("STRIATE_REQUIRE_DJPEG").is_none(),
            "STRIATE_REQUIRE_DJPEG is set, but there is no {program}"
        );
        println!("no {program}: JPEG was not compared with libjpeg");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let scripts: Vec<String> = SCRIPTS
        .iter()
        .enumerate()
        .map(|(index, (_, text))| {
            let path = folder.path().join(format!("{index}.scans"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        })
        .collect();
    let sizes = [(33, 17), (5, 7), (64, 31), (75, 100), (97, 129), (8, 8), (40, 2), (3, 3), (1, 1)];
    let qualities = ["75", "90", "30", "100", "5", "95", "1", "50"];
    let mut sources = Vec::new();
    for seed in 0..3 {
        sources.push(source(seed));
    }
    let mut tally = Tally::default();
    let mut count = 0;
    let mut next = || {
        count += 1;
        let (rows, cols) = sizes[count % sizes.len()];
        (cut(&sources[count % sources.len()], rows, cols), qualities[count % qualities.len()])
    };
    for sampling in SAMPLINGS {
        let forms: [(&str, &[&str]); 5] = [
            ("baseline", &[]),
            ("optimised", &["-optimize"]),
            ("progressive", &["-progressive"]),
            ("restarts", &["-restart", "1"]),
            ("progressive, restarts", &["-progressive", "-restart", "2B"]),
        ];
        for (form, more) in forms {
            let (ppm, quality) = next();
            let arguments = [&["-quality", quality, "-sample", sampling], more].concat();
            let jpeg = run("cjpeg", &arguments, &ppm).expect("cjpeg");
            tally.take(&format!("{sampling} {form} q{quality}"), &jpeg);
        }
        // Every script, with and without restarts, made by jpegtran from the same coefficients.
        let (ppm, quality) = next();
        let arguments = ["-quality", quality, "-sample", sampling];
        let whole = run("cjpeg", &arguments, &ppm).expect("cjpeg");
        for (index, ((name, _), script)) in SCRIPTS.iter().zip(&scripts).enumerate() {
            let mut arguments = vec!["-scans", script];
            if index.is_multiple_of(2) {
                arguments.extend(["-restart", "3B"]);
            }
            let jpeg = run("jpegtran", &arguments, &whole).expect("jpegtran");
            tally.take(&format!("{sampling} {name} q{quality}"), &jpeg);
        }
    }
    for more in [&[][..], &["-progressive"], &["-restart", "2B"], &["-optimize"]] {
        for kind in [&["-grayscale"][..], &["-grayscale", "-sample", "2x2"], &["-rgb"]] {
            let (ppm, quality) = next();
            let arguments = [&["-quality", quality], kind, more].concat();
            let jpeg = run("cjpeg", &arguments, &ppm).expect("cjpeg");
            tally.take(&format!("{kind:?} {more:?} q{quality}"), &jpeg);
        }
    }
    let arithmetic = run("cjpeg", &["-arithmetic"], &next().0);
    if let Some(jpeg) = arithmetic {
        assert!(matches!(decode::decode(&jpeg, "x"), Err(Error::Unsupported { .. })));
        tally.unsupported.push("arithmetic".to_owned());
    }
    inks(&mut tally, next().0);
    println!(
        "{}: {} files compared, {} of them equal in every pixel, the worst off by {}; refused as \
         unsupported: {:?}",
        version("djpeg", "-version").unwrap_or_default(),
        tally.compared,
        tally.equal,
        tally.worst,
        tally.unsupported
    );
    assert_eq!(tally.wrong, [""; 0]);
    assert!(tally.compared >= 200);
}

/// CMYK and YCCK by ImageMagick, against the documented formula on the inks that it says it stored
/// (`djpeg` has no output for inks in all its versions).
fn inks(tally: &mut Tally, ppm: Vec<u8>) {
    if version("convert", "-version").is_none() {
        assert!(
            std::env::var_os("STRIATE_REQUIRE_DJPEG").is_none(),
            "STRIATE_REQUIRE_DJPEG is set, but there is no convert"
        );
        println!("no convert: CMYK was not compared");
        return;
    }
    let forms: [&[&str]; 4] = [
        &["-sampling-factor", "1x1"],
        &["-sampling-factor", "2x2"],
        &["-interlace", "Plane"],
        &["-quality", "60", "-sampling-factor", "2x1"],
    ];
    for form in forms {
        let arguments = [&["ppm:-", "-colorspace", "CMYK"], form, &["jpg:-"]].concat();
        let jpeg = run("convert", &arguments, &ppm).expect("convert to CMYK");
        // ImageMagick reads with libjpeg, and undoes Adobe's inversion: 255 is all of an ink.
        let stored = run("convert", &["jpg:-", "-depth", "8", "cmyk:-"], &jpeg).expect("convert");
        let light = |ink: u8| u32::from(255 - ink);
        let want: Vec<u8> = stored
            .chunks_exact(4)
            .flat_map(|ink| [0, 1, 2].map(|c| ((light(ink[c]) * light(ink[3]) + 127) / 255) as u8))
            .collect();
        let ([rows, cols, _], _) = pnm(&ppm);
        tally.expect(&format!("CMYK {form:?}"), &jpeg, [rows, cols, 3], &want);
    }
}

/// The pictures that the comparison is made on have something in them.
#[test]
fn the_scene_has_edges() {
    let ppm = scene(20, 30, 1);
    let ([rows, cols, channels], values) = pnm(&ppm);
    let image = Image::new(rows, cols, channels, values.to_vec()).unwrap();
    assert_eq!(image.shape(), [20, 30, 3]);
    assert!(values.iter().any(|&v| v < 30) && values.iter().any(|&v| v > 220));
}
