//! Pickles by hand, opcode by opcode.

use super::*;

fn pickled(bytes: &[u8]) -> crate::Result<(Value, Heap)> {
    let fill = |to: &mut [u8], at: u64| {
        to.copy_from_slice(&bytes[at as usize..at as usize + to.len()]);
        Ok(())
    };
    read(&mut Reader::new("x", "data.pkl", 0, bytes.len() as u64, fill))
}

fn described(bytes: &[u8]) -> String {
    let (value, heap) = pickled(bytes).unwrap();
    heap.describe(value)
}

fn message(bytes: &[u8]) -> String {
    pickled(bytes).unwrap_err().to_string()
}

#[test]
fn numbers_are_what_they_are() {
    assert_eq!(described(b"\x80\x02K\xff."), "255");
    assert_eq!(described(b"M\x01\x02."), "513");
    assert_eq!(described(b"J\xfe\xff\xff\xff."), "-2");
    assert_eq!(described(b"\x8a\0."), "0");
    assert_eq!(described(b"\x8a\x02\0\x80."), "-32768");
    assert_eq!(described(b"\x8b\x01\0\0\0\x7f."), "127");
    assert_eq!(described(b"\x8a\x09\0\0\0\0\0\0\0\0\x01."), "an integer of more than 64 bits");
    assert_eq!(described(b"G\x3f\xf8\0\0\0\0\0\0."), "1.5");
    assert_eq!(described(b"\x88."), "True");
    assert_eq!(described(b"N."), "None");
}

#[test]
fn values_are_made_of_values() {
    assert_eq!(described(b"X\x02\0\0\0ab."), "the text \"ab\"");
    assert_eq!(described(b"(K\x01K\x02K\x03t."), "a tuple of 3 values");
    assert_eq!(described(b"](K\x01K\x02e."), "a list of 2 values");
    assert_eq!(described(b"}U\x01aNs."), "a dict of 1 values");
    assert_eq!(described(b"ccollections\nOrderedDict\n)R."), "a dict of 0 values");
    // As Python 2 has it: entries at once.
    assert_eq!(described(b"ccollections\nOrderedDict\n]]U\x01aaNaa\x85R."), "a dict of 1 values");
    assert_eq!(described(b"\x8f(K\x01K\x02\x90."), "a list of 2 values");
    // The memo, by number and by order.
    assert_eq!(described(b"]q\x05Nah\x05."), "a list of 1 values");
    assert_eq!(described(b"\x80\x04]\x94K\x01\x94h\0."), "a list of 0 values");
    // A list that holds itself is no trouble.
    assert_eq!(described(b"]q\0h\0a."), "a list of 1 values");
}

#[test]
fn what_is_not_known_becomes_an_object_of_its_name() {
    let (value, heap) = pickled(b"cos\nsystem\nX\x04\0\0\0true\x85R.").unwrap();
    assert_eq!(heap.describe(value), "what os.system makes (offset 0)");
    assert_eq!(heap.unknown()[0].path(), "os.system");
    let (value, heap) = pickled(b"\x8c\x01m\x8c\x01C\x93)\x81}U\x01aK\x07sb.").unwrap();
    assert_eq!(heap.attributes(value)[0].1, Value::Int(7));
    // What it makes may be called as well: nothing of that is done either.
    assert_eq!(
        described(b"c__builtin__\ngetattr\nN\x85R)R."),
        "what __builtin__.getattr makes (offset 0)"
    );
    assert_eq!(heap.entries(value), []);
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    assert!(message(b"").contains("x: data.pkl, offset 0: expected 1 more bytes"));
    assert!(message(b"N").contains("offset 1: expected 1 more bytes of a pickle, got 0"));
    assert!(message(b".").contains("offset 0: expected a value before this opcode"));
    assert!(message(b"N(.").contains("offset 2: expected a value before this opcode"));
    assert!(message(b"\x80\x06.").contains("protocol 6"));
    assert!(message(b"t").contains("expected a mark before this opcode"));
    assert!(message(b"(Nu").contains("a value for each key, got 1 of both"));
    assert!(message(b"NNa").contains("a list to append to, got None"));
    assert!(message(b"NNNs").contains("a dict to put entries into, got None"));
    assert!(message(b"h\x03").contains("none of number 3"));
    assert!(message(b"I1\n").contains("protocol 0 or 1 (I)"));
    assert!(message(b"\xff").contains("the byte 0xff"));
    assert!(message(b"X\xff\xff\xff\x7f").contains("more bytes of a pickle, got 0"));
    assert!(message(b"K\x01)R.").contains("the name of something to call, got 1"));
    assert!(message(b"NQ.").contains("the id of a storage, got None"));
    assert!(message(b"\x97.").contains("the byte 0x97"));
}

/// The id of a storage of six floats, as all tensors here have it.
const STORAGE: &[u8] =
    b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ";

fn tensor(rest: &[u8]) -> Vec<u8> {
    [b"ctorch._utils\n_rebuild_tensor_v2\n(", STORAGE, rest, b"\x89NtR."].concat()
}

#[test]
fn tensors_stay_within_their_storage() {
    let (value, heap) = pickled(&tensor(b"K\0K\x02K\x03\x86K\x03K\x01\x86")).unwrap();
    assert_eq!(heap.describe(value), "a tensor float32 [2, 3]");
    for (rest, expected) in [
        (&b"K\x01K\x02K\x03\x86K\x03K\x01\x86"[..], "within the 6 elements of storage \"0\""),
        (b"K\0K\x02K\x03\x86K\x04K\x01\x86", "strides [4, 1] from 0 on"),
        (b"K\0K\x02\x85K\x03K\x01\x86", "a stride for each of [2], got [3, 1]"),
        (b"J\xff\xff\xff\xffK\x02\x85K\x01\x85", "an offset that is not negative, got -1"),
        (b"K\0J\xff\xff\xff\xff\x85K\x01\x85", "a shape of at most 16 numbers"),
        (b"K\0K\x02\x85J\xff\xff\xff\xff\x85", "strides of at most 16 numbers"),
        (b"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x89\x86K\x01\x85", "a shape of at most"),
        (b"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "within"),
    ] {
        let text = message(&tensor(rest));
        assert!(text.contains(expected), "{text}");
    }
    // Nothing has to be where there is nothing.
    assert_eq!(described(&tensor(b"K\x09K\0\x85K\x01\x85")), "a tensor float32 [0]");
}

/// Lists that are copied count as steps, so that they have an end.
#[test]
fn copies_have_an_end() {
    let mut bytes = b"ccollections\nOrderedDict\nq\x01]q\0(".to_vec();
    bytes.extend([b'N'; 100_000]);
    bytes.push(b'e');
    for _ in 0..1000 {
        bytes.extend(b"h\x01h\0\x85R");
    }
    bytes.push(b'.');
    assert!(message(&bytes).contains("at most 16000000 steps"));
}

#[test]
fn long_texts_are_skipped() {
    let long = [&b"(X"[..], &200_000u32.to_le_bytes(), &[b'a'; 200_000], b"K\x07t."].concat();
    let (value, heap) = pickled(&long).unwrap();
    let Some(&[text, number]) = heap.sequence(value) else { panic!() };
    assert_eq!((heap.describe(text).as_str(), number), ("bytes, or a long text", Value::Int(7)));
}
