//! A load balancer of the simplest kind: connections go to the servers in turn, and one that a server does not take goes to
//! the next. It looks into none of them, and sends nothing a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One port before the same port of several servers.
pub(super) struct Balancer {
    /// Where it listens on loopback.
    pub(super) port: u16,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Opens it before these ports.
    pub(super) async fn open(servers: Vec<u16>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let servers: Arc<[u16]> = servers.into();
        let next = AtomicUsize::new(0);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let first = next.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, Arc::clone(&servers), first));
            }
        });
        Ok(Self { port, accepting })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut client: TcpStream, servers: Arc<[u16]>, first: usize) {
    for nth in 0..servers.len() {
        let port = servers[(first + nth) % servers.len()];
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            // However it ends, both sides see their connection end.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_one_server_does_not_take_the_next_one_gets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap().port();
        // Bound and closed again: nobody takes anything there.
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = gone.local_addr().unwrap().port();
        drop(gone);
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut line, _) = listener.accept().await.unwrap();
                let mut asked = [0; 2];
                line.read_exact(&mut asked).await.unwrap();
                line.write_all(&asked).await.unwrap();
            }
        });
        let balancer = Balancer::open(vec![there, nobody]).await.unwrap();
        for _ in 0..2 {
            let mut line = TcpStream::connect(("127.0.0.1", balancer.port))
                .await
                .unwrap();
            line.write_all(b"hi").await.unwrap();
            let mut answer = Vec::new();
            line.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"hi");
        }
        server.await.unwrap();
    }
}
