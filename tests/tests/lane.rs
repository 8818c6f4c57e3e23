//! The HTTP engine with a service that answers all writes from one thread: clients that do nothing
//! but write are served by that thread, and everybody else as before.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::http::{Lane, Limits, Reply, Request, Response, Running, Server, Service, StatusCode};
use common::metrics::Metrics;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tests::{Client, eventually, request};

/// The thread that answers.
const WRITER: &str = "writer";
/// Answers of that thread in a row before it serves the client; so the engine's documentation.
const LATE_MIN: usize = 16;
/// It must not be needed.
const NEVER: Duration = Duration::from_secs(3600);

/// Hands each `PUT` to the thread and answers everything else at once; every answer has the
/// request's path and who called the service.
struct Writes(Tasks);

/// Where the thread is given its tasks.
#[derive(Clone)]
struct Tasks {
    sender: Sender<Task>,
    /// Wakes it while it waits for the lane.
    waker: Arc<OnceLock<Waker>>,
}

enum Task {
    Lane(Box<dyn Lane>),
    Answer(Reply, String),
    /// Say so, and do nothing until the other end has gone.
    Away(Sender<()>, Receiver<()>),
    GiveUpLane,
    SetOpen(bool),
    /// The lane holds the service, and that this thread's tasks.
    End,
}

impl Service for Writes {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        let thread = thread::current();
        let text = format!("{} {}", request.path, thread.name().unwrap_or_default());
        if request.method == "PUT" {
            self.0.give(Task::Answer(reply, text));
        } else {
            reply.send(answer(text));
        }
    }

    fn attach(&self, lane: Box<dyn Lane>) {
        assert!(self.0.waker.set(lane.waker()).is_ok(), "a second lane");
        self.0.give(Task::Lane(lane));
    }
}

impl Tasks {
    fn give(&self, task: Task) {
        self.sender.send(task).expect("the thread lives");
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

fn answer(text: String) -> Response {
    Response::with_body(StatusCode::OK, "text/plain", text)
}

/// What the thread does.
fn work(tasks: &Receiver<Task>) {
    let mut lane: Option<Box<dyn Lane>> = None;
    loop {
        let task = match &mut lane {
            None => tasks.recv().expect("the service lives"),
            Some(lane) => {
                lane.serve(if tasks.is_empty() { NEVER } else { Duration::ZERO }).expect("epoll");
                let Ok(task) = tasks.try_recv() else { continue };
                task
            }
        };
        match task {
            Task::Lane(given) => lane = Some(given),
            Task::Answer(reply, text) => reply.send(answer(text)),
            Task::Away(left, back) => {
                left.send(()).expect("the test waits");
                assert!(back.recv().is_err());
            }
            Task::GiveUpLane => lane = None,
            Task::SetOpen(open) => lane.as_mut().expect("a lane").set_open(open),
            Task::End => return,
        }
    }
}

/// A running server and its thread.
struct Served {
    address: SocketAddr,
    running: Option<Running>,
    thread: Option<JoinHandle<()>>,
    tasks: Tasks,
}

impl Served {
    fn start(limits: Limits) -> Self {
        let (sender, waiting) = unbounded();
        let tasks = Tasks { sender, waker: Arc::default() };
        let thread = thread::Builder::new().name(WRITER.to_owned());
        let thread = Some(thread.spawn(move || work(&waiting)).expect("a thread"));
        let server = Server::bind("127.0.0.1", 0, limits, Arc::new(Metrics::new(&["all"])));
        let server = server.expect("a free port");
        let address = server.local_addr();
        let running = Some(server.start(Writes(tasks.clone())).expect("threads"));
        Served { address, running, thread, tasks }
    }

    /// Sends the thread away until what is given back is dropped.
    fn send_away(&self) -> Sender<()> {
        let (gone, left) = bounded(0);
        let (back, away) = bounded(0);
        self.tasks.give(Task::Away(gone, away));
        left.recv().expect("the thread lives");
        back
    }

    /// A client that the thread serves.
    fn writing_client(&self) -> Client {
        let mut client = Client::connect(self.address);
        enter(&mut client);
        client
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.running = None;
        self.tasks.give(Task::End);
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || thread::panicking(), "the thread has panicked");
    }
}

fn limits(workers: usize) -> Limits {
    Limits { workers, ..Limits::default() }
}

fn put(path: &str) -> String {
    request("PUT", path, &[], Some("1"))
}

/// Who has called the service, by an answer to a request of that path.
#[track_caller]
fn served_by(answer: &tests::Response, path: &str) -> String {
    assert_eq!(answer.status, 200, "{path}");
    let text = answer.text();
    let (answered, thread) = text.split_once(' ').expect("a path and a thread");
    assert_eq!(answered, path);
    thread.to_owned()
}

/// Writes until the thread serves the client; says how many requests others have served.
#[track_caller]
fn enter(client: &mut Client) -> usize {
    (0..100 * LATE_MIN)
        .find(|_| served_by(&client.send(put("/w")), "/w") == WRITER)
        .expect("the thread serves the client")
}

/// Has the thread serve a request: at the first try, unless the thread has not run for so long that
/// the client was taken from it.
#[track_caller]
fn enter_and_send(client: &mut Client, requests: &str, path: &str) {
    eventually("the thread serves it", || {
        enter(client);
        (served_by(&client.send(requests), path) == WRITER).then_some(())
    });
}

#[track_caller]
fn assert_worker(by: &str) {
    assert!(by.starts_with("worker-"), "{by}");
}

/// Writes so often, each time served by a worker.
#[track_caller]
fn assert_stays_with_workers(client: &mut Client, writes: usize) {
    for _ in 0..writes {
        assert_worker(&served_by(&client.send(put("/w")), "/w"));
    }
}

#[test]
fn who_only_writes_is_served_by_the_thread_that_answers() {
    for workers in [1, 2] {
        let served = Served::start(limits(workers));
        let mut client = Client::connect(served.address);
        for _ in 0..3 {
            // The write that came behind a read counts.
            assert!(enter(&mut client) >= LATE_MIN - 1);
            // All of them as a rule, but see `enter_and_send`.
            let by = (0..100).filter(|_| served_by(&client.send(put("/x")), "/x") == WRITER);
            assert!(by.count() > 0);
            enter(&mut client);
            // What reads goes to the workers, and what comes next with it.
            assert_worker(&served_by(&client.send(request("GET", "/r", &[], None)), "/r"));
            assert_worker(&served_by(&client.send(put("/y")), "/y"));
        }
    }
}

#[test]
fn where_there_are_many_workers_they_serve_everybody() {
    let served = Served::start(limits(3));
    assert!(served.tasks.waker.get().is_none(), "a lane was offered");
    assert_stays_with_workers(&mut Client::connect(served.address), 10 * LATE_MIN);
}

#[test]
fn what_is_large_or_not_whole_or_answered_at_once_goes_to_the_workers() {
    let served = Served::start(limits(2));
    let mut client = served.writing_client();
    let large = request("PUT", "/large", &[], Some(&"1".repeat(16 << 10)));
    assert_worker(&served_by(&client.send(large), "/large"));

    enter_and_send(&mut client, &request("POST", "/now", &[], Some("1")), "/now");
    assert_worker(&served_by(&client.send(put("/w")), "/w"));

    for cut in 1..put("/cut").len() {
        enter(&mut client);
        let whole = put("/cut");
        client.write(&whole[..cut]);
        thread::yield_now();
        client.write(&whole[cut..]);
        served_by(&client.read(), "/cut");
    }

    enter(&mut client);
    let get = |path| request("GET", path, &[], None);
    client.write([put("/1"), get("/2"), put("/3"), put("/4"), get("/5")].concat());
    served_by(&client.read(), "/1");
    for path in ["/2", "/3", "/4", "/5"] {
        assert_worker(&served_by(&client.read(), path));
    }
}

#[test]
fn refusals_and_ends_are_seen_to_there_too() {
    let served = Served::start(limits(2));
    let mut client = served.writing_client();
    client.write("PUT /w HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n");
    client.read().assert_refused(400);

    let mut client = served.writing_client();
    client.write("nonsense\r\n\r\n");
    client.read().assert_refused(400);

    let mut client = served.writing_client();
    client.write(put("/last"));
    client.stream().shutdown(Shutdown::Write).expect("an open connection");
    served_by(&client.read(), "/last");
    client.expect_close();

    let mut client = served.writing_client();
    let last = request("PUT", "/last", &[("Connection", "close")], Some("1"));
    served_by(&client.send(last), "/last");
    client.expect_close();
}

#[test]
fn nobody_who_reads_waits_for_a_thread_that_is_away() {
    let served = Served::start(limits(2));
    let (mut reader, mut writer) = (served.writing_client(), served.writing_client());
    let mut other = Client::connect(served.address);
    let away = served.send_away();
    for _ in 0..3 {
        let answer = reader.send(request("GET", "/r", &[], None));
        assert_worker(&served_by(&answer, "/r"));
    }
    writer.write(put("/w"));
    other.write(put("/o"));
    drop(away);
    served_by(&writer.read(), "/w");
    assert_worker(&served_by(&other.read(), "/o"));
    enter(&mut writer);
    enter(&mut reader);
}

#[test]
fn a_lane_that_is_given_up_gives_everybody_back() {
    let served = Served::start(limits(2));
    let mut clients: Vec<Client> = (0..10).map(|_| served.writing_client()).collect();
    let away = served.send_away();
    served.tasks.give(Task::GiveUpLane);
    clients[0].write(put("/before"));
    drop(away);
    served_by(&clients[0].read(), "/before");
    for client in &mut clients[1..] {
        assert_stays_with_workers(client, 2 * LATE_MIN);
    }
}

#[test]
fn a_lane_can_be_closed_for_a_while() {
    let served = Served::start(limits(2));
    let mut client = served.writing_client();
    for _ in 0..3 {
        served.tasks.give(Task::SetOpen(false));
        // The thread may be at it while the first of these come.
        let by = (0..4 * LATE_MIN).map(|_| served_by(&client.send(put("/w")), "/w"));
        assert!(by.skip(LATE_MIN).all(|by| by != WRITER));
        served.tasks.give(Task::SetOpen(true));
        enter(&mut client);
    }
}

#[test]
fn a_stop_and_a_time_out_reach_it() {
    let mut served = Served::start(limits(2));
    let (mut idle, mut busy) = (served.writing_client(), served.writing_client());
    let away = served.send_away();
    busy.write(put("/w"));
    let running = served.running.take().expect("it runs");
    let stopping = thread::spawn(move || running.stop());
    idle.expect_close();
    drop(away);
    let answer = busy.read();
    served_by(&answer, "/w");
    stopping.join().expect("it stops");

    let idle_timeout = Duration::from_secs(1);
    let served = Served::start(Limits { idle_timeout, ..limits(2) });
    let mut client = served.writing_client();
    client.expect_close();
}

/// Clients that come and go between the two: nobody loses an answer or gets that of another.
#[test]
fn many_clients_write_and_read_in_turn() {
    let served = Served::start(limits(2));
    let by = thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|number: usize| {
                let address = served.address;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut by: HashMap<String, usize> = HashMap::new();
                    for round in 0..600 {
                        let path = format!("/{number}/{round}");
                        // Some read now and then.
                        let reads = number > 16 && round % number == 0;
                        let method = if reads { "GET" } else { "PUT" };
                        let body = (!reads).then_some("1");
                        let answer = client.send(request(method, &path, &[], body));
                        *by.entry(served_by(&answer, &path)).or_default() += 1;
                    }
                    by
                })
            })
            .collect();
        let by = clients.into_iter().map(|client| client.join().expect("a client"));
        by.flatten().fold(HashMap::<String, usize>::new(), |mut sums, (by, count)| {
            *sums.entry(by).or_default() += count;
            sums
        })
    });
    assert_eq!(by.values().sum::<usize>(), 24 * 600);
    assert!(by[WRITER] > 24 * 100, "{by:?}");
}
