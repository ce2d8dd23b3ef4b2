//! The plain API of small servers: `/generate` with `prompt`, `max_tokens` and `strategy`,
//! one at a time and in batches. Whole answers only.

use serde_json::{Value, json};

use super::super::config::Config;
use super::super::request::{ApiError, Ask, Body, Sequence, Wanted, number, text, texts};
use super::super::tokens;
use super::super::wire::{Account, Form};
use super::{Request, Understood};

/// Tokens of an answer where none are asked for.
const USUAL: u64 = 50;

pub(super) fn refusal(error: &ApiError) -> String {
    json!({"error": error.message}).to_string()
}

/// `/model/info`.
pub(super) fn model(config: &Config) -> String {
    json!({
        "model_name": config.model, "loaded": true, "max_model_len": config.max_model_len,
        "preset": config.preset, "max_num_seqs": config.max_num_seqs,
    })
    .to_string()
}

struct Answers {
    /// The prompts with their tokens, to be repeated before each answer.
    prompts: Vec<(String, Vec<u64>)>,
    batch: bool,
}

/// `/generate`.
pub(super) fn generate(request: &Request<'_>) -> Understood {
    answer(request, &[text(request.body, "prompt")?], false)
}

/// `/batch/generate`.
pub(super) fn batch(request: &Request<'_>) -> Understood {
    answer(request, &texts(request.body, "prompts")?, true)
}

fn answer(request: &Request<'_>, prompts: &[&str], batch: bool) -> Understood {
    let (body, config) = (request.body, request.config);
    check_strategy(body)?;
    let wanted = Wanted::of(body, number(body, "max_tokens")?, Some(USUAL))?;
    let prompts: Vec<(String, Vec<u64>)> =
        prompts.iter().map(|prompt| ((*prompt).to_owned(), tokens::encode(prompt))).collect();
    let sequences: Vec<Sequence> =
        prompts.iter().map(|(_, ids)| wanted.answer(ids.clone(), config)).collect::<Result<_, _>>()?;
    let ask = Ask { stream: false, thinks: false, pooled: false, sequences };
    Ok((ask, Box::new(Answers { prompts, batch })))
}

fn check_strategy(body: &Body) -> Result<(), ApiError> {
    match body.get("strategy").map(Value::as_str) {
        None | Some(Some("greedy" | "top_k" | "top_p")) => Ok(()),
        Some(_) => {
            let message = "Invalid strategy: must be 'greedy', 'top_k', or 'top_p'";
            Err(ApiError::bad_request(Some("strategy"), message))
        }
    }
}

impl Form for Answers {
    fn whole(&self, config: &Config, ask: &Ask, _account: &Account) -> String {
        let one = |(sequence, (prompt, ids)): (&Sequence, &(String, Vec<u64>))| {
            let (mut text, mut ids) =
                if config.echo_prompt { (format!("{prompt} "), ids.clone()) } else { Default::default() };
            text.push_str(&tokens::answer(sequence.key, 0, sequence.output));
            ids.extend((0..sequence.output).map(|n| tokens::answer_id(sequence.key, n)));
            json!({"token_ids": ids, "text": text, "num_generated": sequence.output})
        };
        let mut results: Vec<Value> = ask.sequences.iter().zip(&self.prompts).map(one).collect();
        if self.batch {
            return json!({"results": results}).to_string();
        }
        results.pop().unwrap_or_default().to_string()
    }
}
