use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ORG: OrganisationId = OrganisationId(1);
const DEVICE: Option<DeviceId> = Some(DeviceId(7));
const KIND: SecretKind = SecretKind::RecoveryKey;

fn vault(byte: u8) -> EscrowVault {
    EscrowVault::new(MasterKey::new(Secret::new([byte; 32])).unwrap())
}

#[tokio::test]
async fn what_was_sealed_opens() {
    let vault = vault(1);
    let key = vault.new_data_key(ORG).await.unwrap();
    for content in [&b""[..], b"x", &[7; 100_000]] {
        let secret = Secret::new(content);
        let sealed = vault.seal(ORG, &key, KIND, DEVICE, &secret).await.unwrap();
        assert_eq!(
            vault.open(ORG, &key, KIND, DEVICE, &sealed).await,
            Ok(secret)
        );
        assert!(content.len() < 2 || !sealed.windows(content.len()).any(|w| w == content));
    }
}

#[tokio::test]
async fn a_sealed_value_opens_nowhere_else() {
    let vault = vault(1);
    let key = vault.new_data_key(ORG).await.unwrap();
    let other_key = vault.new_data_key(ORG).await.unwrap();
    let secret = Secret::from_text("ABCD");
    let sealed = vault.seal(ORG, &key, KIND, DEVICE, &secret).await.unwrap();
    let none = Err(VaultError::Open);
    let open = async |org, key: &WrappedKey, kind, device, sealed: &[u8]| {
        vault.open(org, key, kind, device, sealed).await
    };
    assert_eq!(
        open(OrganisationId(2), &key, KIND, DEVICE, &sealed).await,
        none
    );
    assert_eq!(
        open(ORG, &key, SecretKind::UnlockToken, DEVICE, &sealed).await,
        none
    );
    assert_eq!(
        open(ORG, &key, KIND, Some(DeviceId(8)), &sealed).await,
        none
    );
    assert_eq!(open(ORG, &key, KIND, None, &sealed).await, none);
    assert_eq!(open(ORG, &other_key, KIND, DEVICE, &sealed).await, none);
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert_eq!(
            open(ORG, &key, KIND, DEVICE, &altered).await,
            none,
            "byte {at}"
        );
    }
    for len in 0..sealed.len() {
        assert_eq!(
            open(ORG, &key, KIND, DEVICE, &sealed[..len]).await,
            none,
            "{len}"
        );
    }
    assert_eq!(VaultError::Open.to_string(), "cannot be opened");
}

#[tokio::test]
async fn device_zero_is_not_no_device() {
    let vault = vault(1);
    let key = vault.new_data_key(ORG).await.unwrap();
    let secret = Secret::from_text("ABCD");
    let sealed = vault.seal(ORG, &key, KIND, None, &secret).await.unwrap();
    let opened = vault
        .open(ORG, &key, KIND, Some(DeviceId(0)), &sealed)
        .await;
    assert_eq!(opened, Err(VaultError::Open));
}

#[tokio::test]
async fn another_master_key_opens_nothing() {
    let (one, two) = (vault(1), vault(2));
    let key = one.new_data_key(ORG).await.unwrap();
    let secret = Secret::from_text("ABCD");
    let sealed = one.seal(ORG, &key, KIND, DEVICE, &secret).await.unwrap();
    assert_eq!(
        two.open(ORG, &key, KIND, DEVICE, &sealed).await,
        Err(VaultError::Open)
    );
    // Nor under a forged name.
    let mut forged = key.clone();
    forged.key_id = two.new_data_key(ORG).await.unwrap().key_id;
    assert_eq!(
        two.open(ORG, &forged, KIND, DEVICE, &sealed).await,
        Err(VaultError::Open)
    );
    assert!(MasterKey::new(Secret::new([1; 31])).is_err());
}

/// Holds an old and a new master key and counts what it is asked.
struct Two {
    old: MasterKey,
    new: MasterKey,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl KeyWrap for Two {
    fn key_id(&self) -> String {
        self.new.key_id()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.new.wrap(plain, context).await
    }

    async fn unwrap(&self, id: &str, wrapped: &[u8], context: &[u8]) -> Result<Secret, VaultError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let key = if id == self.old.key_id() {
            &self.old
        } else {
            &self.new
        };
        key.unwrap(id, wrapped, context).await
    }
}

#[tokio::test]
async fn the_master_key_can_be_changed_and_is_asked_once() {
    let master = |byte| MasterKey::new(Secret::new([byte; 32])).unwrap();
    let old = vault(1);
    let key = old.new_data_key(ORG).await.unwrap();
    let secret = Secret::from_text("ABCD");
    let sealed = old.seal(ORG, &key, KIND, DEVICE, &secret).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let both = EscrowVault::new(Two {
        old: master(1),
        new: master(2),
        asked: Arc::clone(&asked),
    });
    let rewrapped = both.rewrap(ORG, &key).await.unwrap();
    assert_ne!(rewrapped.key_id, key.key_id);
    for _ in 0..3 {
        let opened = both.open(ORG, &key, KIND, DEVICE, &sealed).await;
        assert_eq!(opened.as_ref(), Ok(&secret));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    both.forget();
    assert!(both.open(ORG, &key, KIND, DEVICE, &sealed).await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // What was sealed before opens with the new master key alone.
    let new = vault(2);
    assert_eq!(
        new.open(ORG, &rewrapped, KIND, DEVICE, &sealed).await,
        Ok(secret)
    );
}

#[tokio::test]
async fn the_keys_of_one_organisation_are_forgotten_and_no_others() {
    let master = |byte| MasterKey::new(Secret::new([byte; 32])).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let vault = EscrowVault::new(Two {
        old: master(1),
        new: master(2),
        asked: Arc::clone(&asked),
    });
    let secret = Secret::from_text("ABCD");
    let mut rows = Vec::new();
    for of in [ORG, OrganisationId(2)] {
        let key = vault.new_data_key(of).await.unwrap();
        let sealed = vault.seal(of, &key, KIND, DEVICE, &secret).await.unwrap();
        rows.push((of, key, sealed));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    vault.forget_organisation(ORG);
    for (n, asked_then) in [(1, 2), (0, 3), (0, 3)] {
        let (of, key, sealed) = &rows[n];
        let opened = vault.open(*of, key, KIND, DEVICE, sealed).await;
        assert_eq!(opened.as_ref(), Ok(&secret));
        assert_eq!(asked.load(Ordering::Relaxed), asked_then, "{of}");
    }
}
