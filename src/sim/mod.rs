//! An OpenAI-compatible server that isn't there: continuous batching over a shared step
//! budget on a real socket, with a log of the truth per request.
