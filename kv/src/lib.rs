//! `kv`: JSON values under string keys over HTTP.
