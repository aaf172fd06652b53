//! A small blocking HTTP/1.1 client that keeps its connection: cheap, so that the load does not eat the CPU it measures.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Deadline of one read or write.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to one server, made again when it breaks.
pub struct Client {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds the server asks to wait, of `retry-after`.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is one of success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text, cut for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned()
    }
}

impl Client {
    /// A client of `address`, `host:port`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None }
    }

    /// Fetches `path`.
    ///
    /// # Errors
    ///
    /// When the connection fails.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "", &[])
    }

    /// Sends `body`; `headers` are whole lines, each with its end.
    ///
    /// # Errors
    ///
    /// When the connection fails.
    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let was_open = self.connection.is_some();
        let answer = self.try_ask(method, path, headers, body);
        // A kept connection may have been closed meanwhile: once more on a new one. GET only: a write is not repeated blindly.
        if answer.is_err() {
            self.connection = None;
            if was_open && method == "GET" {
                return self.try_ask(method, path, headers, body);
            }
        }
        answer
    }

    fn try_ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let sent = connection
            .get_mut()
            .write_all(head.as_bytes())
            .and_then(|()| connection.get_mut().write_all(body));
        // A server may refuse before it has read everything, and hang up then.
        let (answer, keeps) = match (sent, read_answer(connection)) {
            (Ok(()), answer) => answer?,
            (Err(_), Ok((answer, _))) => (answer, false),
            (Err(error), Err(_)) => return Err(error.into()),
        };
        if !keeps {
            self.connection = None;
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address).with_context(|| self.address.clone())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }
}

fn read_answer(from: &mut impl BufRead) -> Result<(Answer, bool)> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no HTTP answer: {line:?}"))?;
    let (mut len, mut is_chunked, mut keeps, mut retry_after_s) = (None, false, true, None);
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => len = Some(value.parse::<usize>()?),
            "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keeps = !value.eq_ignore_ascii_case("close"),
            "retry-after" => retry_after_s = value.parse().ok(),
            _ => {}
        }
    }
    let body = match (is_chunked, len) {
        (true, _) => read_chunks(from)?,
        (false, Some(len)) => {
            let mut body = vec![0; len];
            from.read_exact(&mut body)?;
            body
        }
        (false, None) if status == 204 || status == 304 => Vec::new(),
        (false, None) => {
            keeps = false;
            let mut body = Vec::new();
            from.read_to_end(&mut body)?;
            body
        }
    };
    Ok((Answer { status, retry_after_s, body }, keeps))
}

fn read_chunks(from: &mut impl BufRead) -> Result<Vec<u8>> {
    let (mut body, mut line) = (Vec::new(), String::new());
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let Ok(len) = usize::from_str_radix(size, 16) else { bail!("bad chunk size {size:?}") };
        let start = body.len();
        body.resize(start + len, 0);
        from.read_exact(&mut body[start..])?;
        line.clear();
        from.read_line(&mut line)?; // The end of the chunk's line, or after the last one the empty trailer.
        if len == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_with_a_length_and_in_chunks_are_read() {
        let text = "HTTP/1.1 429 Busy\r\nRetry-After: 2\r\nContent-Length: 3\r\n\r\nabc\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
        let mut from = text.as_bytes();
        let (first, _) = read_answer(&mut from).unwrap();
        assert_eq!((first.status, first.retry_after_s, first.text()), (429, Some(2), "abc".into()));
        let (second, keeps) = read_answer(&mut from).unwrap();
        assert_eq!((second.is_success(), keeps, second.text()), (true, true, "def".into()));
        assert!(from.is_empty());
    }
}
