//! Messages out of protobuf's text form.

use super::prototxt::{Field, Value};
use crate::{Error, Result};

/// A message that can be read from text.
pub(super) trait Record: Default {
    /// Fields that may be ignored, as they do not change what a network computes at inference; `*` for
    /// all that are not read.
    const IGNORED: &'static [&'static str];

    /// Takes a field over; `false` where the message has none of that name.
    fn set(&mut self, file: &str, field: &Field) -> Result<bool>;
}

/// The message that fields make.
pub(super) fn record<T: Record>(file: &str, fields: &[Field]) -> Result<T> {
    let mut record = T::default();
    fill(&mut record, file, fields)?;
    Ok(record)
}

fn fill<T: Record>(record: &mut T, file: &str, fields: &[Field]) -> Result<()> {
    for field in fields {
        let is_ignored = |name: &&str| *name == "*" || *name == field.name;
        if !record.set(file, field)? && !T::IGNORED.iter().any(is_ignored) {
            let place = format!("{}: `{}`", field.place, field.name);
            let expected = "a field that is known here";
            return Err(Error::content(file, place, expected, "one that may change the meaning"));
        }
    }
    Ok(())
}

/// A place for a value. `names` are those of an enumeration by number.
pub(super) trait Slot {
    /// Takes the value of a field over.
    fn put(&mut self, file: &str, field: &Field, names: &[&str]) -> Result<()>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Scalar for $type {
            fn of(field: &Field, names: &[&str]) -> Option<Self> {
                let Value::Word(word) = &field.value else { return None };
                if let Some(number) = names.iter().position(|name| name == word) {
                    return number.try_into().ok();
                }
                let (sign, digits) = match word.strip_prefix('-') {
                    Some(digits) => (-1, digits),
                    None => (1, &word[..]),
                };
                let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
                let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
                let number = match (hex, octal) {
                    (Some(hex), _) => i128::from(u64::from_str_radix(hex, 16).ok()?),
                    (_, Some(octal)) => i128::from(u64::from_str_radix(octal, 8).ok()?),
                    _ => i128::from(digits.parse::<u64>().ok()?),
                };
                (sign * number).try_into().ok()
            }

            fn expected(names: &[&str]) -> String {
                match names.is_empty() {
                    true => format!("a whole number of {} to {}", <$type>::MIN, <$type>::MAX),
                    false => format!("one of {}", names.join(", ")),
                }
            }
        }
    )*};
}

/// A value that is no message.
trait Scalar: Sized {
    fn of(field: &Field, names: &[&str]) -> Option<Self>;
    fn expected(names: &[&str]) -> String;
}

integers! { i32 u32 i64 }

impl Scalar for f32 {
    fn of(field: &Field, _: &[&str]) -> Option<Self> {
        let Value::Word(word) = &field.value else { return None };
        let number = word.strip_suffix(['f', 'F']).unwrap_or(word);
        // `inf` loses its last letter.
        number.parse().or_else(|_| word.parse()).ok()
    }

    fn expected(_: &[&str]) -> String {
        "a number".into()
    }
}

impl Scalar for bool {
    fn of(field: &Field, _: &[&str]) -> Option<Self> {
        let Value::Word(word) = &field.value else { return None };
        match &**word {
            "true" | "True" | "t" | "1" => Some(true),
            "false" | "False" | "f" | "0" => Some(false),
            _ => None,
        }
    }

    fn expected(_: &[&str]) -> String {
        "true or false".into()
    }
}

impl Scalar for String {
    fn of(field: &Field, _: &[&str]) -> Option<Self> {
        match &field.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn expected(_: &[&str]) -> String {
        "a text in quotes".into()
    }
}

fn scalar<T: Scalar>(file: &str, field: &Field, names: &[&str]) -> Result<T> {
    T::of(field, names).ok_or_else(|| field.error(file, T::expected(names)))
}

macro_rules! slots {
    ($($type:ty)*) => {$(
        impl Slot for Option<$type> {
            fn put(&mut self, file: &str, field: &Field, names: &[&str]) -> Result<()> {
                *self = Some(scalar(file, field, names)?);
                Ok(())
            }
        }

        impl Slot for Vec<$type> {
            fn put(&mut self, file: &str, field: &Field, names: &[&str]) -> Result<()> {
                self.push(scalar(file, field, names)?);
                Ok(())
            }
        }
    )*};
}

slots! { i32 u32 i64 f32 bool String }

fn message<'f>(file: &str, field: &'f Field) -> Result<&'f [Field]> {
    match &field.value {
        Value::Message(fields) => Ok(fields),
        _ => Err(field.error(file, "a message in braces")),
    }
}

/// A message that stands there twice is merged, as protobuf does it.
impl<T: Record> Slot for Option<T> {
    fn put(&mut self, file: &str, field: &Field, _: &[&str]) -> Result<()> {
        fill(self.get_or_insert_default(), file, message(file, field)?)
    }
}

impl<T: Record> Slot for Vec<T> {
    fn put(&mut self, file: &str, field: &Field, _: &[&str]) -> Result<()> {
        self.push(record(file, message(file, field)?)?);
        Ok(())
    }
}
