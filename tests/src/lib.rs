//! What the integration tests share: starting the real binaries, and a raw socket client.
