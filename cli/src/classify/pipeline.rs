//! Decoding ahead: the next images are read while the network works on the current ones.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use striate::image::{Image, Limits};

use crate::error::{Error, Result};
use crate::inputs;

/// Decoded images that may wait. More would only hold more memory: if decoding is the slower part,
/// none ever waits.
const AHEAD: usize = 2;

/// An image, or why there is none.
pub(super) struct Decoded {
    pub(super) path: PathBuf,
    pub(super) image: Result<Image>,
}

impl Decoded {
    pub(super) fn pixels(&self) -> usize {
        self.image.as_ref().map_or(0, |image| image.rows() * image.cols())
    }
}

/// Decodes images on a thread of its own, in order. It ends when nobody receives any more.
pub(super) fn decode_ahead(paths: Vec<PathBuf>, limits: Limits) -> Result<Receiver<Decoded>> {
    let (sender, receiver) = sync_channel(AHEAD);
    let decode = move || {
        for path in paths {
            let image = inputs::picture(&path, &limits);
            if sender.send(Decoded { path, image }).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("decode".into())
        .spawn(decode)
        .map_err(|e| Error::because("cannot start a thread to decode images", e))?;
    Ok(receiver)
}
