//! Cuts a byte stream into frames: server-sent events, JSON lines, or one whole body.
