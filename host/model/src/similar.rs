//! Which known name was probably meant by an unknown one.

/// A known name that is at least this similar (Jaro-Winkler, 0 to 1) to an unknown one is suggested in its place.
const MIN_SIMILARITY: f64 = 0.8;

/// Returns how similar a known name is to a name (0 to 1); `None`: too little to be suggested.
#[must_use]
pub fn compare_names(name: &str, known: &str) -> Option<f64> {
    let similarity = strsim::jaro_winkler(name, known);
    (similarity >= MIN_SIMILARITY).then_some(similarity)
}

/// Returns the known names that are like a name, the most similar first.
pub fn rank_similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .filter_map(|known| Some((compare_names(name, known)?, known)))
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.into_iter().map(|(_, known)| known).collect()
}

/// Returns the known name that is most like a name, if one is like it.
pub fn find_similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    rank_similar(name, known).first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested_and_an_unlike_one_is_not() {
        let known = ["kyle", "stan", "runaway"];
        for (name, near) in [
            ("kyel", Some("kyle")),
            ("stam", Some("stan")),
            ("runnaway", Some("runaway")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(find_similar(name, known), near, "{name}");
        }
        assert_eq!(rank_similar("kenn", ["kent", "kenny"]), ["kenny", "kent"]);
    }
}
