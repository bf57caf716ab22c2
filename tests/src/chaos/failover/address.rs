//! An address that moves: the port by which the server reaches its database, and behind it whichever cluster has it just now.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One port of this machine that leads to another.
pub(super) struct Moving {
    /// Where it listens on loopback.
    pub(super) port: u16,
    /// Where it leads; nowhere while nobody has it.
    to: Arc<watch::Sender<Option<u16>>>,
    accepting: JoinHandle<()>,
}

impl Moving {
    /// Opens it before this port.
    pub(super) async fn open(to: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let to = Arc::new(watch::Sender::new(Some(to)));
        let leads = Arc::clone(&to);
        let accepting = tokio::spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(carry(client, leads.subscribe()));
                }
            }
        });
        Ok(Self {
            port,
            to,
            accepting,
        })
    }

    /// Leads there from now on. Connections to where it led before end at once.
    pub(super) fn lead(&self, to: Option<u16>) {
        self.to.send_replace(to);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut client: TcpStream, mut to: watch::Receiver<Option<u16>>) {
    let Some(port) = *to.borrow_and_update() else {
        return;
    };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = to.changed() => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Says this to everybody, and keeps the connection.
    async fn says(word: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut line, _) = listener.accept().await.unwrap();
                line.write_all(word).await.unwrap();
                kept.push(line);
            }
        });
        port
    }

    #[tokio::test]
    async fn connections_end_when_it_moves_and_new_ones_lead_elsewhere() {
        let (one, two) = (says(b"1").await, says(b"2").await);
        let address = Moving::open(one).await.unwrap();
        let mut first = TcpStream::connect(("127.0.0.1", address.port))
            .await
            .unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'1');
        address.lead(None);
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        let mut nobody = TcpStream::connect(("127.0.0.1", address.port))
            .await
            .unwrap();
        assert!(nobody.read_u8().await.is_err());
        address.lead(Some(two));
        let mut second = TcpStream::connect(("127.0.0.1", address.port))
            .await
            .unwrap();
        assert_eq!(second.read_u8().await.unwrap(), b'2');
    }
}
