//! The configuration as a file: what `--write-config-to` writes and `--config` reads.

use super::Resolved;
use serde_json::{Map, Value as Json};

impl Resolved {
    /// Every key with its value, nested, as `shunt.yaml`.
    ///
    /// # Errors
    /// Only when YAML cannot say it.
    pub fn yaml(&self) -> Result<String, String> {
        let mut tree = Map::new();
        for shown in self.shown() {
            let mut below = &mut tree;
            let (above, name) = shown.key.rsplit_once('.').unwrap_or(("", &shown.key));
            for part in above.split('.').filter(|p| !p.is_empty()) {
                let entry = below.entry(part).or_insert_with(|| Json::Object(Map::new()));
                let Json::Object(next) = entry else { return Err(format!("{part} is a key and a section")) };
                below = next;
            }
            below.insert(name.into(), shown.value);
        }
        serde_saphyr::to_string(&tree).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layers, Resolved};

    #[test]
    fn what_is_written_reads_back_the_same() {
        let set = ["devices=eth+,!eth3", "nodePort.addresses=10.0.0.0/8", "oomScoreAdj=-5", "syncPeriod=10s"];
        let set = set.map(String::from).to_vec();
        let resolved = Resolved::new(&Layers { set, ..Layers::default() }).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shunt.yaml");
        std::fs::write(&file, resolved.yaml().unwrap()).unwrap();
        let again = Resolved::new(&Layers { file: Some(file), ..Layers::default() }).unwrap();
        let values = |r: &Resolved| r.shown().into_iter().map(|s| (s.key, s.value)).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&resolved));
    }
}
