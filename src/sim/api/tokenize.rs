//! Counting tokens, as vLLM (`prompt` or `messages`), llama.cpp (`content`), TGI (`inputs`)
//! and the plain API (`text`) do it: the body tells which is meant.

use serde_json::{Value, json};

use super::super::config::Config;
use super::super::request::{
    ApiError, Body, check_model, flag, messages_into, parse_body, prompt_into, text, texts,
};
use super::super::tokens::{self, mark};

/// `/tokenize`.
pub(super) fn tokenize(bytes: &[u8], config: &Config) -> Result<String, ApiError> {
    let body = parse_body(bytes)?;
    let vllm = body.contains_key("prompt") || body.contains_key("messages");
    if !vllm && body.contains_key("text") {
        return Ok(plain(text(&body, "text")?).to_string());
    }
    if !vllm && body.contains_key("content") {
        return Ok(json!({"tokens": tokens::encode(text(&body, "content")?)}).to_string());
    }
    if !vllm && body.contains_key("inputs") {
        return Ok(tgi(text(&body, "inputs")?).to_string());
    }
    let (ids, with_texts) = vllm_tokens(&body, config)?;
    let texts = with_texts.then(|| ids.iter().map(|id| tokens::piece_of(*id)).collect::<Vec<_>>());
    Ok(json!({
        "count": ids.len(), "max_model_len": config.max_model_len, "tokens": ids, "token_strs": texts,
    })
    .to_string())
}

/// The tokens of a prompt or of messages, and whether their texts are wanted too.
fn vllm_tokens(body: &Body, config: &Config) -> Result<(Vec<u64>, bool), ApiError> {
    check_model(body, config)?;
    let mut out = Vec::new();
    // vLLM's defaults: special tokens for a prompt, none beyond the template for a chat.
    let chat = body.contains_key("messages");
    let special = body.get("add_special_tokens").and_then(Value::as_bool).unwrap_or(!chat);
    if config.add_bos && (special || chat) {
        out.push(mark::BOS);
    }
    if chat {
        let open = body.get("add_generation_prompt").and_then(Value::as_bool).unwrap_or(true);
        messages_into(body, open, config, &mut out)?;
    } else {
        prompt_into(body, &mut out)?;
    }
    Ok((out, flag(body, "return_token_strs")?))
}

fn plain(text: &str) -> Value {
    let ids = tokens::encode(text);
    json!({"token_ids": ids, "num_tokens": ids.len()})
}

/// TGI tells where in the text each token stands.
fn tgi(text: &str) -> Value {
    let mut start = 0;
    let token = |id: u64| {
        let piece = tokens::piece_of(id);
        let from = start;
        start += piece.chars().count();
        json!({"id": id, "text": piece, "start": from, "stop": start})
    };
    tokens::encode(text).into_iter().map(token).collect()
}

/// `/batch/tokenize`.
pub(super) fn batch(bytes: &[u8]) -> Result<String, ApiError> {
    let body = parse_body(bytes)?;
    let results: Vec<Value> = texts(&body, "texts")?.into_iter().map(plain).collect();
    Ok(json!({"results": results}).to_string())
}

/// `/detokenize`, as vLLM.
pub(super) fn detokenize(bytes: &[u8], config: &Config) -> Result<String, ApiError> {
    let body = parse_body(bytes)?;
    check_model(&body, config)?;
    let ids = body.get("tokens").and_then(Value::as_array).map(|a| a.iter().map(Value::as_u64).collect());
    let ids: Vec<u64> = match ids {
        Some(Some(ids)) => ids,
        _ => {
            return Err(ApiError::form(
                Some("body.tokens"),
                "1 validation error: tokens should be a list of token ids",
            ));
        }
    };
    Ok(json!({"prompt": tokens::decode(&ids)}).to_string())
}
