//! Embeddings and rankings: prompts are computed, and nothing is generated.

use serde_json::{Value, json};

use super::super::config::Config;
use super::super::request::{ApiError, Ask, Body, check_model, number, text, texts};
use super::super::tokens;
use super::super::wire::{Account, Form};
use super::{Request, Understood};

struct Embeddings {
    id: String,
    created: i64,
    dimensions: u32,
    base64: bool,
}

/// `/v1/embeddings`: a text, a list of texts, or lists of token ids.
pub(super) fn embeddings(request: &Request<'_>) -> Understood {
    let (body, config) = (request.body, request.config);
    check_model(body, config)?;
    let prompts = inputs(body)?;
    let dimensions = match number(body, "dimensions")? {
        None => config.embedding_dimensions,
        Some(n) => u32::try_from(n)
            .ok()
            .filter(|n| (1..=config.embedding_dimensions).contains(n))
            .ok_or_else(|| {
                let most = config.embedding_dimensions;
                ApiError::bad_request(
                    Some("dimensions"),
                    format!("dimensions must be between 1 and {most}, got {n}."),
                )
            })?,
    };
    let base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::wanted("encoding_format", "\"float\" or \"base64\"")),
    };
    let form =
        Embeddings { id: format!("embd-{}", request.id), created: request.created, dimensions, base64 };
    Ok((Ask::pooled(prompts, config)?, Box::new(form)))
}

fn inputs(body: &Body) -> Result<Vec<Vec<u64>>, ApiError> {
    let wrong = || ApiError::wanted("input", "a string, a list of strings, or lists of token ids");
    let ids = |list: &Vec<Value>| list.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
    if let Some(Value::Array(list)) = body.get("input") {
        match list.first() {
            Some(Value::Number(_)) => return Ok(vec![ids(list).ok_or_else(wrong)?]),
            Some(Value::Array(_)) => {
                return list.iter().map(|one| one.as_array().and_then(ids).ok_or_else(wrong)).collect();
            }
            _ => {}
        }
    }
    Ok(texts(body, "input").map_err(|_| wrong())?.into_iter().map(tokens::encode).collect())
}

/// A vector of length 1 that follows the text.
fn vector(key: u64, dimensions: u32) -> Vec<f64> {
    let mut all: Vec<f64> =
        (0..dimensions).map(|n| tokens::unit(tokens::mix(key ^ 0xe3b) ^ u64::from(n)) - 0.5).collect();
    let length = all.iter().map(|x| x * x).sum::<f64>().sqrt();
    for x in &mut all {
        *x /= length.max(f64::MIN_POSITIVE);
    }
    all
}

/// 32-bit floats, the least byte first, in base64.
fn packed(vector: &[f64]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part.iter().enumerate().fold(0_u32, |w, (n, b)| w | u32::from(*b) << (16 - 8 * n));
        for n in 0..4 {
            let letter = char::from(LETTERS[(word >> (18 - 6 * n) & 63) as usize]);
            text.push(if n <= part.len() { letter } else { '=' });
        }
    }
    text
}

impl Form for Embeddings {
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String {
        let one = |(index, sequence): (usize, &super::super::request::Sequence)| {
            let vector = vector(sequence.key, self.dimensions);
            let embedding = if self.base64 { json!(packed(&vector)) } else { json!(vector) };
            json!({"index": index, "object": "embedding", "embedding": embedding})
        };
        let prompt = account.usage.prompt;
        json!({
            "id": self.id, "object": "list", "created": self.created, "model": config.model,
            "data": ask.sequences.iter().enumerate().map(one).collect::<Vec<_>>(),
            "usage": {
                "prompt_tokens": prompt, "total_tokens": prompt, "completion_tokens": 0,
                "prompt_tokens_details": null,
            },
        })
        .to_string()
    }
}

struct Rerank {
    id: String,
    documents: Vec<String>,
    top_n: usize,
    return_documents: bool,
}

/// `/rerank` and `/v1/rerank`: each document is computed behind the query.
pub(super) fn rerank(request: &Request<'_>) -> Understood {
    let (body, config) = (request.body, request.config);
    check_model(body, config)?;
    let query = tokens::encode(text(body, "query")?);
    let wrong = || ApiError::wanted("documents", "a list of texts, or of objects with a text");
    let documents: Vec<String> = match body.get("documents") {
        Some(Value::Array(list)) if !list.is_empty() => {
            list.iter().map(text_of).collect::<Option<_>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let pair = |document: &String| {
        let mut prompt = query.clone();
        tokens::encode_into(document, &mut prompt);
        prompt
    };
    let ask = Ask::pooled(documents.iter().map(pair).collect(), config)?;
    // 0 is vLLM's word for all.
    let top_n = number(body, "top_n")?.filter(|n| *n > 0).unwrap_or(u64::MAX);
    let form = Rerank {
        id: format!("rerank-{}", request.id),
        top_n: usize::try_from(top_n).unwrap_or(usize::MAX),
        documents,
        return_documents: body.get("return_documents").and_then(Value::as_bool).unwrap_or(true),
    };
    Ok((ask, Box::new(form)))
}

fn text_of(document: &Value) -> Option<String> {
    document.as_str().or_else(|| document.get("text")?.as_str()).map(str::to_owned)
}

impl Form for Rerank {
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String {
        let mut scored: Vec<(usize, f64)> =
            ask.sequences.iter().enumerate().map(|(n, s)| (n, tokens::unit(s.key ^ 0x5c0e))).collect();
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
        scored.truncate(self.top_n);
        let one = |(index, score): (usize, f64)| {
            let mut result = json!({"index": index, "relevance_score": score});
            if self.return_documents {
                result["document"] = json!({"text": self.documents.get(index)});
            }
            result
        };
        let prompt = account.usage.prompt;
        json!({
            "id": self.id, "model": config.model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
            "results": scored.into_iter().map(one).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_follow_their_text() {
        let v = vector(7, 64);
        assert!((v.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(v, vector(7, 64));
        assert_ne!(v, vector(8, 64));
        // Three floats are twelve bytes, one is four.
        assert_eq!(packed(&[1.0, 0.0, -2.0]), "AACAPwAAAAAAAADA");
        assert_eq!(packed(&[1.0]), "AACAPw==");
    }
}
