//! Crawls a small web: fetching on coroutines, many at once; parsing on every core. The server is
//! a thread of this program, on the loopback.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use manyhands::{Pool, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Pages of the small web.
const PAGES: u64 = 500;

/// How long the server takes for a page.
const DELAY: Duration = Duration::from_millis(20);

#[task]
async fn fetch(server: SocketAddr, page: u64) -> Result<String, String> {
    let fetched = async {
        let mut stream = tokio::net::TcpStream::connect(server).await?;
        let request = format!("GET /{page} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response)
    };
    let response = fetched.await.map_err(|error| error.to_string())?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or("no page")?;
    if head.starts_with("HTTP/1.0 200") {
        Ok(body.to_owned())
    } else {
        Err(head.to_owned())
    }
}

/// The pages that a page links to.
#[task]
fn links(html: String) -> Vec<u64> {
    html.split("href=\"/")
        .skip(1)
        .filter_map(|rest| rest.split_once('"')?.0.parse().ok())
        .collect()
}

/// Each page links to a few others, and together they can all be reached from the first.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    let page = request.split(['/', ' ']).nth(2);
    thread::sleep(DELAY);
    let mut stream = stream;
    match page.and_then(|page| page.parse::<u64>().ok()) {
        Some(page) if page < PAGES => {
            let targets = [2 * page + 1, 2 * page + 2, page / 3];
            let inside = targets.into_iter().filter(|target| *target < PAGES);
            let body: String = inside
                .map(|target| format!("<a href=\"/{target}\">page {target}</a>\n"))
                .collect();
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n<html>{body}</html>")
        }
        _ => write!(stream, "HTTP/1.0 404 Not Found\r\n\r\n"),
    }
}

fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manyhands::init();
    let server = serve()?;
    let pool = Pool::builder().workers(2).concurrency(50).build()?;
    let (mut known, mut frontier) = (BTreeSet::from([0]), vec![0]);
    while !frontier.is_empty() {
        println!("{} pages known, {} to fetch", known.len(), frontier.len());
        let requests = frontier.drain(..).map(|page| (server, page));
        let pages: Result<Vec<String>, String> = pool
            .map(fetch, requests.collect::<Vec<_>>())
            .unordered()
            .collect::<Result<_, _>>()?;
        for found in pool.map(links, pages?) {
            for page in found? {
                if known.insert(page) {
                    frontier.push(page);
                }
            }
        }
    }
    println!("{} pages in all", known.len());
    assert_eq!(known.len() as u64, PAGES);
    let missing = pool.submit(fetch, (server, PAGES)).wait()?;
    assert_eq!(missing, Err("HTTP/1.0 404 Not Found".into()));
    pool.shutdown()?;
    Ok(())
}
