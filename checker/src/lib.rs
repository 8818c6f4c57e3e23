//! `checker`: validates a running `kv` over HTTP.
