//! As much of Redis' protocol as a shop needs: one command, one answer, over one connection.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, RESP version 2.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest value that is taken.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// A connection.
pub(crate) struct Redis(BufReader<TcpStream>);

impl Redis {
    /// Connects to `host:port`.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("Redis at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The answer to a command: a number, a simple text or a value; `None` where there is none.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Option<String>> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(command.as_bytes()).await?;
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            bail!("Redis hung up");
        }
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(Some(rest.to_owned())),
            Some(("-", rest)) => bail!("Redis refuses {}: {rest}", words.join(" ")),
            Some(("$", "-1")) => Ok(None),
            Some(("$", len)) => {
                let len: usize = len.parse().context("the length of a value")?;
                if len > VALUE_BYTES_MAX {
                    bail!("a value of {len} bytes");
                }
                let mut value = vec![0; len + 2];
                self.0.read_exact(&mut value).await?;
                value.truncate(len);
                Ok(Some(String::from_utf8(value).context("a value that is no text")?))
            }
            _ => bail!("Redis said {line:?}"),
        }
    }
}
