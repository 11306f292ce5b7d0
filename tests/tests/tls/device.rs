//! What an operator asks a device, as far as the broker has a part in it: an init of the tests
//! hears what comes through. `tests/image` has whole devices.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Finished;

use super::support::{Site, check, openssl, refusal, sedge, text};

const OPERATOR: &str = "operator-0123456789";
const VIEWER: &str = "viewer-0123456789";
const INFO: &str = "board=b\nslot=a\nstate=good\nversion=0.1.0\nbuilt=1795812000\n";
/// Larger than all buffers on the way.
const IMAGE_BYTES: usize = 3 << 20;

/// Answers requests as an init does, and hands over each word with what it got.
fn init(socket: &Path) -> Receiver<(String, Vec<u8>)> {
    let listener = UnixListener::bind(socket).expect("a socket in a scratch directory");
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(&stream, &sender);
        }
    });
    heard
}

fn serve(mut stream: &UnixStream, heard: &Sender<(String, Vec<u8>)>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    let (word, bytes) = line.trim_end().split_once(' ').expect("WORD BYTES");
    let bytes: u64 = bytes.parse().expect("a number");
    let mut head = String::new();
    if bytes > 0 {
        reader.read_line(&mut head).expect("a signature");
    }
    if head.starts_with("signature=") && word == "update" && bytes < IMAGE_BYTES as u64 {
        // Refuses at once, with most of the image unread.
        let _ = stream.write_all(b"refused\nthe image is for another board\n");
        let _ = heard.send((word.to_owned(), Vec::new()));
        return;
    }
    let mut body = head.into_bytes();
    let left = bytes - body.len() as u64;
    reader.take(left).read_to_end(&mut body).expect("the body");
    let answer = format!("ok\n{INFO}");
    stream
        .write_all(answer.as_bytes())
        .expect("the broker reads");
    // The test may have ended.
    let _ = heard.send((word.to_owned(), body));
}

/// Writes an image with so many bytes behind its head, and signs it.
fn signed_image(site: &Site, name: &str, bytes: usize) -> PathBuf {
    let (image, key) = (site.directory.join(name), site.directory.join("key.pem"));
    let parts: Vec<u8> = (0..bytes).map(|at| (at * 7 % 251) as u8).collect();
    let head = b"sedge slot image 1\nboard=b\n\n";
    std::fs::write(&image, [&head[..], &parts].concat()).expect("a scratch file");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &text(&key)]);
    let done = sedge(&["device", "sign", &text(&image), "--key", &text(&key)]);
    assert!(done.status.success(), "{}", done.stderr);
    image
}

#[test]
fn what_an_operator_asks_reaches_the_init_and_nothing_else_does() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut socket = PathBuf::new();
    let site = Site::start_with("tls-device", |directory, mut options| {
        socket = directory.join("device");
        options
            .variables
            .push(("DEVICE_SOCKET".into(), text(&socket)));
        options
            .console("https://127.0.0.1:0")
            .set("sedge.console.token", VIEWER)
            .set("sedge.console.device.token", OPERATOR)
            .set("listener.name.console.ssl.client.auth", "none")
    });
    let heard = init(&socket);
    let config = |token: &str| {
        let path = site.directory.join("operator.properties");
        let ca = site.file("ca.pem");
        let lines = format!("ssl.truststore.location={ca}\nsedge.console.device.token={token}\n");
        std::fs::write(&path, lines).expect("a scratch file");
        text(&path)
    };
    let device = |token: &str, arguments: &[&str]| -> Finished {
        let config = config(token);
        let way = ["--host", site.sedge.console(), "--command-config", &config];
        sedge(&[&["device"], arguments, &way].concat())
    };

    check(
        &refusal(device("wrong-0123456789", &["info"])),
        &["show a token"],
    );
    check(
        &refusal(device(VIEWER, &["reboot"])),
        &["sedge.console.device.token alone"],
    );
    assert!(
        heard.try_recv().is_err(),
        "a stranger's request reached the init"
    );

    let told = device(OPERATOR, &["info"]);
    check(&told.stdout, &["board=b", "slot=a"]);
    let listed = device(OPERATOR, &["list"]);
    check(&listed.stdout, &["STATE", "good", "2026-"]);
    let words: Vec<String> = heard.try_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["info", "info"]);

    let image = signed_image(&site, "large.slot", IMAGE_BYTES);
    let done = device(OPERATOR, &["update", &text(&image), "--no-reboot"]);
    assert!(done.status.success(), "{}", done.stderr);
    let (word, head) = heard.recv().expect("a check");
    assert_eq!(word, "check");
    assert!(
        head.ends_with(b"board=b\n\n"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let (word, body) = heard.recv().expect("an update");
    assert_eq!(word, "update");
    let file = std::fs::read(&image).expect("the image");
    assert!(
        body.starts_with(b"signature=") && body.ends_with(&file),
        "other bytes came"
    );

    let image = signed_image(&site, "small.slot", IMAGE_BYTES / 2);
    let told = refusal(device(OPERATOR, &["update", &text(&image)]));
    check(&told, &["the image is for another board"]);
    site.assert_serves();
}

#[test]
fn a_broker_without_an_image_says_so() {
    if is_skipped_on_kafka() {
        return;
    }
    let site = Site::start("tls-no-device", |options| {
        options.set("sedge.console.device.token", OPERATOR)
    });
    let config = site.directory.join("operator.properties");
    std::fs::write(&config, format!("sedge.console.device.token={OPERATOR}\n")).unwrap();
    let host = format!("http://{}", site.sedge.console());
    let told = refusal(sedge(&[
        "device",
        "info",
        "--host",
        &host,
        "--command-config",
        &text(&config),
    ]));
    check(&told, &["does not run on an image of sedge"]);
}
