//! Which threads are at work for a client that does nothing but write.

use tempfile::TempDir;
use tests::eventually;

use crate::{connect, on};

const WRITES: u64 = 1_000;

/// With two workers the commit thread serves it and no worker wakes up; with more they do.
#[test]
fn few_workers_have_nothing_to_do_with_a_client_that_only_writes() {
    for (workers, wakes_them) in [("1", false), ("2", false), ("3", true)] {
        let data = TempDir::new().expect("a directory");
        let server = on(data.path()).env("WORKERS", workers).start();
        let mut connection = connect(&server);
        let mut sleeps = || {
            let before = server.process().sleeps("worker-");
            for number in 0..WRITES {
                let key = (number % 10).to_string();
                assert!(connection.put(&key, "1").expect("an answer").is_done());
            }
            server.process().sleeps("worker-") - before
        };
        if wakes_them {
            let sleeps = sleeps();
            assert!(sleeps > WRITES / 2, "{sleeps} with {workers} workers");
        } else {
            // There are some before it moves, and many while a slow disk keeps the thread away.
            eventually("workers with nothing to do", || (sleeps() < WRITES / 2).then_some(()));
        }
    }
}
