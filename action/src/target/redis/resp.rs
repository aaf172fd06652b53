//! RESP2, as Redis and Sentinel speak it (Redis serialization protocol specification): commands as arrays of bulk strings,
//! answers bounded in size and depth.

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};

/// Longest text, most items, and deepest nesting of an answer.
const TEXT_BYTES_MAX: usize = 4 << 20;
const ITEMS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 4;
/// Longest line that says what follows.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Text(String),
    Number(i64),
    List(Vec<Self>),
    Nothing,
    /// The server refuses, in its words.
    Error(String),
}

impl Answer {
    /// The text of an answer; a refusal is an error.
    pub(super) fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(number) => Ok(number.to_string()),
            Self::Error(why) => Err(why),
            Self::Nothing => Err("it answered nothing".to_owned()),
            Self::List(_) => Err("it answered a list".to_owned()),
        }
    }

    /// The items of an answer.
    pub(super) fn list(self) -> Result<Vec<Self>, String> {
        match self {
            Self::List(list) => Ok(list),
            Self::Error(why) => Err(why),
            Self::Nothing => Err("it answered nothing".to_owned()),
            Self::Text(_) | Self::Number(_) => Err("it answered no list".to_owned()),
        }
    }

    /// Pairs of names and values that stand one after the other.
    pub(super) fn pairs(self) -> Result<Vec<(String, String)>, String> {
        let texts: Result<Vec<String>, String> = self.list()?.into_iter().map(Self::text).collect();
        let texts = texts?;
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }
}

/// A connection.
pub(super) struct Connection<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Answer, String> {
        self.stream.write_all(&request(words)).await.map_err(|error| error.to_string())?;
        self.stream.flush().await.map_err(|error| error.to_string())?;
        read(&mut self.stream, 0).await
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).as_bytes());
        out.extend(word.as_bytes());
        out.extend(b"\r\n");
    }
    out
}

async fn line<R: AsyncBufRead + Unpin + Send>(from: &mut R) -> Result<String, String> {
    let mut bytes = Vec::new();
    let taken = from.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await;
    taken.map_err(|error| error.to_string())?;
    if !bytes.ends_with(b"\r\n") {
        return Err("the answer breaks off, or a line of it is too long".to_owned());
    }
    bytes.truncate(bytes.len() - 2);
    String::from_utf8(bytes).map_err(|_| "the answer is no text".to_owned())
}

fn length(text: &str, most: usize) -> Result<Option<usize>, String> {
    if text == "-1" {
        return Ok(None);
    }
    let length = text.parse().ok().filter(|length| *length <= most).map(Some);
    length.ok_or_else(|| "the answer has no length that can be".to_owned())
}

async fn read<R: AsyncBufRead + Unpin + Send>(
    from: &mut R,
    depth: usize,
) -> Result<Answer, String> {
    let head = line(from).await?;
    let mut chars = head.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    match kind {
        Some('+') => Ok(Answer::Text(rest.to_owned())),
        Some('-') => Ok(Answer::Error(rest.to_owned())),
        Some(':') => {
            let number = rest.parse().map_err(|_| "the answer's number is none".to_owned());
            number.map(Answer::Number)
        }
        Some('$') => {
            let Some(length) = length(rest, TEXT_BYTES_MAX)? else { return Ok(Answer::Nothing) };
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes).await.map_err(|error| error.to_string())?;
            if !bytes.ends_with(b"\r\n") {
                return Err("the answer's length is wrong".to_owned());
            }
            bytes.truncate(length);
            Ok(Answer::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some('*') if depth < DEPTH_MAX => {
            let Some(n) = length(rest, ITEMS_MAX)? else { return Ok(Answer::Nothing) };
            let mut items = Vec::new();
            for _ in 0..n {
                items.push(Box::pin(read(from, depth + 1)).await?);
            }
            Ok(Answer::List(items))
        }
        _ => Err("the answer is not RESP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(text: &str) -> Result<Answer, String> {
        read(&mut text.as_bytes(), 0).await
    }

    #[tokio::test]
    async fn answers_of_every_kind_are_read() {
        assert_eq!(parsed("+OK\r\n").await.unwrap().text().unwrap(), "OK");
        assert_eq!(parsed(":42\r\n").await.unwrap(), Answer::Number(42));
        assert_eq!(parsed("$5\r\na\r\nbc\r\n").await.unwrap().text().unwrap(), "a\r\nbc");
        assert_eq!(parsed("$-1\r\n").await.unwrap(), Answer::Nothing);
        assert_eq!(parsed("*0\r\n").await.unwrap(), Answer::List(Vec::new()));
        let pairs = parsed("*4\r\n$2\r\nip\r\n$1\r\nx\r\n$4\r\nport\r\n:6379\r\n").await.unwrap();
        let wanted = [("ip", "x"), ("port", "6379")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(pairs.pairs().unwrap(), wanted);
        assert_eq!(parsed("-NOAUTH no\r\n").await.unwrap().text(), Err("NOAUTH no".to_owned()));
    }

    #[tokio::test]
    async fn hostile_answers_end_with_an_error() {
        for bad in [
            "",
            "+OK",
            "hello\r\n",
            ":x\r\n",
            "$-2\r\n",
            "$99999999999\r\n",
            "$3\r\nabcd\r\n",
            "$5\r\nab\r\n",
            "*99999999\r\n",
            "*2\r\n+a\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+deep\r\n",
        ] {
            assert!(parsed(bad).await.is_err(), "{bad:?}");
        }
        assert!(parsed(&"+a".repeat(60_000)).await.is_err());
    }

    #[test]
    fn words_are_data() {
        assert_eq!(
            request(&["SET", "a b\r\nFLUSHALL"]),
            b"*2\r\n$3\r\nSET\r\n$13\r\na b\r\nFLUSHALL\r\n"
        );
    }
}
