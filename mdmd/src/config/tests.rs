//! The configuration read from files, environment and flags; what is refused, and with which words.

use toml::Value;

use super::*;

fn load(text: &str) -> Result<Config, String> {
    Config::load(Some(text), &BTreeMap::new(), &[]).map_err(|e| e.to_string())
}

#[test]
fn the_defaults_are_a_configuration() {
    let config = Config::for_directory(Path::new("/tmp/x"));
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(config.push.host, "api.push.apple.com");
    assert_eq!(
        config.database.sqlite_file(&config.data_directory).unwrap(),
        Path::new("/tmp/x/mdmd.sqlite")
    );
}

#[test]
fn every_documented_key_is_read_and_every_key_that_is_read_is_documented() {
    let mut text = String::new();
    let mut section = "";
    for key in keys::all().filter(|k| k.path != "listener") {
        let (s, leaf) = key.path.split_once('.').unwrap_or(("", key.path));
        if s != section {
            section = s;
            text.push_str(&format!("[{s}]\n"));
        }
        text.push_str(&format!("{leaf} = {}\n", key.example));
    }
    text.push_str("[[listener]]\naddress = \"0.0.0.0:80\"\nduty = \"challenge\"\n");
    let config = load(&text).unwrap();
    let written = Table::try_from(&config).unwrap();
    let mut paths = Vec::new();
    for (name, value) in &written {
        match value {
            Value::Table(inner) => paths.extend(inner.keys().map(|k| format!("{name}.{k}"))),
            _ => paths.push(name.clone()),
        }
    }
    let mut known: Vec<String> = keys::all().map(|k| k.path.to_owned()).collect();
    paths.sort();
    known.sort();
    assert_eq!(paths, known);
}

#[test]
fn the_example_file_is_the_default_configuration() {
    let uncommented: String = Config::example_file()
        .lines()
        .filter(|l| l.starts_with('['))
        .map(|l| format!("{l}\n"))
        .collect();
    assert!(load(&uncommented).is_ok());
    assert!(load(&Config::example_file()).is_ok());
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let error = load("[push]\nprot = 443\n").unwrap_err();
    assert_eq!(
        error,
        "push.prot: there is no such key; did you mean push.port?"
    );
    let error = load("[[listener]]\naddress = \"0.0.0.0:1\"\nduty = \"device\"\nname = []\n");
    assert_eq!(
        error.unwrap_err(),
        "listener 1, name: there is no such key; did you mean names?"
    );
}

#[test]
fn every_wrong_value_is_named_with_what_would_be_right() {
    let error = load("database = 5\n[push]\nport = 70000\n[log]\nformat = \"xml\"\n").unwrap_err();
    assert!(error.contains("database: must be sqlite"), "{error}");
    assert!(
        error.contains("push.port: must be a whole number from 1 to 65535, for example 2197"),
        "{error}"
    );
    assert!(
        error.contains("log.format: must be one of text, json"),
        "{error}"
    );
}

#[test]
fn a_value_that_no_connection_could_use_is_refused() {
    let check = |path: &str, right: &[&str], wrong: &[&str]| {
        let (section, leaf) = path.split_once('.').unwrap();
        let read = |text: &&str| load(&format!("[{section}]\n{leaf} = \"{text}\"\n"));
        for text in right {
            assert!(read(text).is_ok(), "{path}: {text}: {:?}", read(text));
        }
        for text in wrong {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(&format!("{path}: must be")),
                "{text}: {error}"
            );
        }
    };
    check(
        "proxy.certificate_header",
        &["X-SSL-Cert", "client-cert"],
        &["X SSL cert", "", "x-cert:", "x-ce\u{301}rt"],
    );
    check(
        "push.host",
        &["api.push.apple.com", "10.0.0.1", "::1", "localhost"],
        &[
            "https://api.push.apple.com",
            "api.push.apple.com:443",
            "a b",
            "",
            "a..b",
            "-a",
        ],
    );
    check(
        "public.device_url",
        &[
            "https://h",
            "https://H.example.com:8443",
            "https://[::1]:1",
            "https://10.0.0.1:0",
        ],
        &[
            "https://:x",
            "https://",
            "https://h:x",
            "https://h:+1",
            "https://h:",
            "https://h:70000",
            "https://h/",
            "https://::1",
            "https://[::1",
            "https://u:p@h",
            "http://h",
        ],
    );
    check(
        "traces.endpoint",
        &[
            "https://collector.example.com",
            "https://h:4318/otlp",
            "http://127.0.0.1:4318",
            "http://localhost:4318/x",
            "http://[::1]:1",
        ],
        &[
            "http://collector.example.com:4318",
            "http://10.0.0.1:4318",
            "http://localhost.example.com",
            "127.0.0.1:4318",
            "http://u:p@127.0.0.1",
        ],
    );
    check(
        "apple.token_url",
        &[
            "https://account.apple.com/auth/oauth2/token?x=1",
            "https://h:1",
        ],
        &[
            "https:///token",
            "https://h:x/token",
            "https://h/a b",
            "h/token",
        ],
    );
}

#[test]
fn the_environment_stands_over_the_file_and_flags_over_both() {
    let environment = BTreeMap::from([
        ("MDMD_PUSH_PORT".to_owned(), "2197".to_owned()),
        ("MDMD_PUSH_HOST".to_owned(), "push.test".to_owned()),
        ("MDMD_MASTER_KEY".to_owned(), "not read here".to_owned()),
    ]);
    let flags = [("push.host".to_owned(), "flag.test".to_owned())];
    let config = Config::load(Some("[push]\nport = 1\n"), &environment, &flags).unwrap();
    assert_eq!(
        (config.push.host.as_str(), config.push.port),
        ("flag.test", 2197)
    );

    let wrong = BTreeMap::from([("MDMD_PUSH_PRT".to_owned(), "1".to_owned())]);
    let error = Config::load(None, &wrong, &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "MDMD_PUSH_PRT: there is no such variable; did you mean MDMD_PUSH_PORT?"
    );
}

#[test]
fn a_password_in_the_database_url_is_in_no_message() {
    let config = load("database = \"postgres://u:hunter2@db/x\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = load("database = \"mysql://u:hunter2@db/x\"").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    let error = load("database = \"postgres://u:hunter2@db/x\nlog = 1").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn what_a_file_should_say_is_what_others_do_not_and_no_password() {
    let plain = Config::for_directory(Path::new("/a"));
    let none = (Table::new(), Vec::new());
    assert_eq!(Config::for_directory(Path::new("/b")).beyond(&plain), none);
    let text = "database = \"postgres://u@db/x\"\n\n[push]\nport = 2197\n";
    let (beyond, hidden) = load(text).unwrap().beyond(&plain);
    assert_eq!(
        (toml::to_string(&beyond).unwrap().as_str(), hidden.len()),
        (text, 0)
    );
    for secret in [
        "postgres://u:hunter2@db/x",
        "postgresql://:hunter2@db/x",
        "postgres://db/x?user=u&password=hunter2",
        "postgres://u:p@hunter2@db/x",
    ] {
        let (beyond, hidden) = load(&format!("database = \"{secret}\""))
            .unwrap()
            .beyond(&plain);
        assert_eq!(
            (beyond, hidden),
            (Table::new(), vec!["database"]),
            "{secret}"
        );
    }
    let (beyond, _) = load("database = \"postgres://[::1]:5432/x\"")
        .unwrap()
        .beyond(&plain);
    assert_eq!(beyond.len(), 1);
}

#[test]
fn two_duties_for_one_name_of_one_port_are_refused() {
    let error = load(
        "[[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"device\"\n\
         [[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"enrol\"\n",
    )
    .unwrap_err();
    assert!(error.contains("both hold for every other name"), "{error}");
}

#[test]
fn the_reference_page_is_the_one_in_docs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        page == Config::reference_page(),
        "docs/configuration.md is not what `mdmd config reference` prints"
    );
}
