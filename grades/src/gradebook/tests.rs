use super::*;

fn grade(title: &str, score: f64) -> Result<Grade, InvalidField> {
    Grade::new(title.to_owned(), GradeKind::Quiz, score)
}

fn student(scores: &[f64]) -> Student {
    Student {
        id: StudentId(1),
        first_name: "A".to_owned(),
        last_name: "B".to_owned(),
        grades: scores.iter().map(|score| grade("t", *score).expect("valid")).collect(),
    }
}

#[test]
fn an_average_is_the_mean_and_absent_without_grades() {
    assert_eq!(student(&[]).average(), None);
    assert_eq!(student(&[0.0]).average(), Some(0.0));
    assert_eq!(student(&[85.0, 94.0, 88.0]).average(), Some(89.0));
}

#[test]
fn a_title_has_1_to_100_characters_however_many_bytes_they_take() {
    assert!(grade(&"ü".repeat(Grade::TITLE_CHARS_MAX), 1.0).is_ok());
    for title in ["", &"x".repeat(Grade::TITLE_CHARS_MAX + 1), "a\nb", "a\0", "\u{9b}31m"] {
        assert_eq!(grade(title, 1.0).expect_err(title).field, "title");
    }
}

#[test]
fn a_score_is_a_number_from_0_to_100() {
    for score in [0.0, 0.5, 100.0] {
        assert_eq!(grade("t", score).expect("in range").score(), score);
    }
    for score in [-0.1, 100.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(grade("t", score).expect_err("out of range").field, "score");
    }
}

#[test]
fn a_score_of_minus_zero_is_zero() {
    assert!(grade("t", -0.0).expect("zero").score().is_sign_positive());
}

#[test]
fn a_request_id_is_visible_ascii_or_left_out() {
    let parse = |text: &str| RequestId::parse("request_id", text.to_owned());
    assert_eq!(parse(""), Ok(None));
    let longest = "~".repeat(RequestId::CHARS_MAX);
    let id = parse(&longest).expect("at the limit").expect("given");
    assert_eq!(id.as_str(), longest);
    for text in ["a b", "ü", "\t", &"x".repeat(RequestId::CHARS_MAX + 1)] {
        assert_eq!(parse(text).expect_err(text).field, "request_id");
    }
}

#[test]
fn an_id_of_0_was_left_out() {
    assert_eq!(StudentId::parse("id", 0).expect_err("zero").field, "id");
    assert_eq!(StudentId::parse("id", u32::MAX).expect("the largest").get(), u32::MAX);
}
