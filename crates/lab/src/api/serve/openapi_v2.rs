//! The OpenAPI version 2 document in protobuf, the only form that kubectl reads it in.
//!
//! Field numbers are those of gnostic's `openapi_v2.proto`; the wire format needs two shapes only, since everything here
//! is a string or a message.

use super::{
    answer::{self, Answer},
    openapi::path,
};
use crate::api::kinds::{KINDS, KindInfo};

/// The document as kubectl asks for it. It asks with an `@` in the type, which Go's own parser of media types refuses in
/// the answer; a real API server answers with a dot, too.
pub fn protobuf() -> Answer {
    let mut paths = Vec::new();
    for kind in &KINDS {
        // NamedPathItem { 1: name, 2: value }, PathItem { 8: patch }
        let item = [text(1, &path(kind)), field(2, &field(8, &operation(kind)))].concat();
        paths.extend(field(2, &item));
    }
    // Info { 1: title, 2: version }; Document { 1: swagger, 2: info, 8: paths }
    let info = [text(1, "Kubernetes"), text(2, "shunt-lab")].concat();
    let document = [text(1, "2.0"), field(2, &info), field(8, &paths)].concat();
    answer::plain(200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", document)
}

fn operation(kind: &KindInfo) -> Vec<u8> {
    // QueryParameterSubSchema { 2: in, 4: name, 6: type } in NonBodyParameter { 3 } in Parameter { 2 } in ParametersItem { 1 }
    let query = [text(2, "query"), text(4, "fieldValidation"), text(6, "string")].concat();
    let parameter = field(1, &field(2, &field(3, &query)));
    // NamedAny { 1: name, 2: value }, Any { 2: yaml }
    let yaml = format!("group: \"{}\"\nversion: {}\nkind: {}\n", kind.group, kind.version, kind.kind);
    let extension = [text(1, "x-kubernetes-group-version-kind"), field(2, &text(2, &yaml))].concat();
    // Operation { 8: parameters, 9: responses, 13: vendor_extension }
    [field(8, &parameter), field(9, &[]), field(13, &extension)].concat()
}

fn text(number: u32, value: &str) -> Vec<u8> {
    field(number, value.as_bytes())
}

/// A length-delimited field.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3 | 2));
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_tag_length_and_value() {
        assert_eq!(text(1, "ab"), [0x0a, 2, b'a', b'b']);
        assert_eq!(field(13, &[0; 200])[..3], [0x6a, 0xc8, 0x01]);
    }
}
