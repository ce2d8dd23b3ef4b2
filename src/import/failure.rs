//! What another tool says of a request that failed, in our words.

use crate::record::{Outcome, RequestRecord};

/// Note a failure with the other tool's text and status, if it has one.
pub(super) fn note(record: &mut RequestRecord, text: &str, status: Option<u16>) {
    let (outcome, class) = classify(text, status);
    record.outcome = outcome;
    record.error_class = Some(class);
    record.status = status.or(record.status);
    record.detail = Some(text.chars().take(300).collect()).filter(|t: &String| !t.is_empty());
}

fn classify(text: &str, status: Option<u16>) -> (Outcome, String) {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // What our own exports write begins with the class itself.
    let own = lower.split(':').next().unwrap_or_default().trim();
    match (own, status) {
        ("dropped", _) => (Outcome::Dropped, own.to_owned()),
        ("censored", _) => (Outcome::Censored, own.to_owned()),
        ("cancelled", _) => (Outcome::Cancelled, own.to_owned()),
        ("truncated", _) => (Outcome::Truncated, own.to_owned()),
        ("bad_stream" | "server_error", _) => (Outcome::BadStream, own.to_owned()),
        ("429" | "503", _) => (Outcome::HttpError, own.to_owned()),
        (class, _) if class.starts_with("timeout_") => (Outcome::Timeout, class.to_owned()),
        (_, Some(code)) if code >= 300 && code != 499 => (Outcome::HttpError, http_class(code)),
        (phrase, _) if status_of(phrase).is_some() => {
            (Outcome::HttpError, http_class(status_of(phrase).unwrap_or_default()))
        }
        _ if has(&["cancel"]) => (Outcome::Cancelled, "cancelled".to_owned()),
        _ if has(&["timeout", "timed out"]) => (Outcome::Timeout, "timeout_total".to_owned()),
        _ if has(&["reset", "disconnected", "broken pipe"]) => (Outcome::Reset, "reset".to_owned()),
        _ if has(&["connect", "refused"]) => (Outcome::ConnectError, "connect".to_owned()),
        _ if has(&["too many requests"]) => (Outcome::HttpError, "429".to_owned()),
        _ if has(&["service unavailable"]) => (Outcome::HttpError, "503".to_owned()),
        _ if has(&["internal server error", "bad gateway"]) => (Outcome::HttpError, "5xx".to_owned()),
        _ if has(&["bad request"]) => (Outcome::HttpError, "4xx".to_owned()),
        // That it failed is known, and no more.
        _ => (Outcome::HttpError, "other".to_owned()),
    }
}

/// The status of a reason phrase, which is all that some tools keep of a refusal.
fn status_of(words: &str) -> Option<u16> {
    Some(match words {
        "bad request" => 400,
        "unauthorized" => 401,
        "forbidden" => 403,
        "not found" => 404,
        "method not allowed" => 405,
        "payload too large" | "content too large" | "request entity too large" => 413,
        "unprocessable entity" | "unprocessable content" => 422,
        "too many requests" => 429,
        "internal server error" => 500,
        "not implemented" => 501,
        "bad gateway" => 502,
        "service unavailable" => 503,
        "gateway timeout" | "gateway time-out" => 504,
        _ => return None,
    })
}

fn http_class(code: u16) -> String {
    match code {
        429 => "429".to_owned(),
        503 => "503".to_owned(),
        code => format!("{}xx", code / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_find_their_class() {
        for (text, status, outcome, class) in [
            ("429: slow down", None, Outcome::HttpError, "429"),
            ("Request timed out", None, Outcome::Timeout, "timeout_total"),
            ("timeout_first_token: none came", None, Outcome::Timeout, "timeout_first_token"),
            ("Cannot connect to host", None, Outcome::ConnectError, "connect"),
            ("Internal", Some(500), Outcome::HttpError, "5xx"),
            ("Request was cancelled after 0.1 s", Some(499), Outcome::Cancelled, "cancelled"),
            ("Server disconnected", None, Outcome::Reset, "reset"),
            ("censored", None, Outcome::Censored, "censored"),
            ("Bad Request", None, Outcome::HttpError, "4xx"),
            ("Not Found", None, Outcome::HttpError, "4xx"),
            ("Internal Server Error", None, Outcome::HttpError, "5xx"),
            ("Gateway Timeout", None, Outcome::HttpError, "5xx"),
            ("Service Unavailable", None, Outcome::HttpError, "503"),
            ("no idea", None, Outcome::HttpError, "other"),
        ] {
            assert_eq!(classify(text, status), (outcome, class.to_owned()), "{text}");
        }
    }
}
