//! Following the configuration centre: documents as they come, a command that runs by them, a file made of them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use zab::config::{Centre, CentreError, Document, Follower, Hold, Instance, Namespace};
use zab::{Client, Error as SessionError, SessionId, Zxid};

use super::child::{self, Ending, Orders, Signals};
use super::config_options::{Follow, OnChange};
use super::lock::close;
use super::{RecipeError, Site, exit};

/// The pause before servers are looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of a session is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn watch_documents(
    site: &Site,
    root: &str,
    follow: &Follow,
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let mut signals = Signals::catch()?;
    let mut feed = signals.over(start(site, root, follow)).await?;
    loop {
        let document = feed.document();
        writeln!(out, "{}", document.to_json())?;
        out.flush()?;
        tokio::select! {
            () = feed.changed() => {}
            signal = signals.next() => {
                feed.end().await;
                return Ok(exit::of_signal(signal));
            }
        }
    }
}

pub(super) async fn run(
    site: &Site,
    root: &str,
    follow: &Follow,
    prefix: &str,
    on_change: OnChange,
    orders: Orders,
    command: &[String],
) -> Result<u8, RecipeError> {
    let mut signals = Signals::catch()?;
    let mut feed = signals.over(start(site, root, follow)).await?;
    let (nudge, nudges) = mpsc::channel(1);
    let mut signals = signals.with(nudges);
    loop {
        let document = feed.document();
        let environment: Vec<_> = document
            .values
            .iter()
            .map(|(key, value)| (variable(prefix, key), value.text.clone()))
            .collect();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, text)| (name.as_str(), text.clone()))
            .chain([("ZAB_CONFIG_REVISION", document.revision.to_string())])
            .collect();
        let restart = async {
            loop {
                feed.changed().await;
                match on_change {
                    OnChange::Restart => return,
                    OnChange::Hup => drop(nudge.try_send(rustix::process::Signal::HUP)),
                    OnChange::Ignore => {}
                }
            }
        };
        match child::run_while(command, &environment, orders, &mut signals, restart).await {
            Ok(Ending::Lost(())) => eprintln!("zab: the configuration has changed; starting anew"),
            Ok(Ending::Exited(status)) => {
                feed.end().await;
                return Ok(child::exit_code(status));
            }
            Err(error) => {
                feed.end().await;
                return Err(error);
            }
        }
    }
}

/// The name of a key's environment variable: letters, digits and underscores, in capitals.
fn variable(prefix: &str, key: &str) -> String {
    let name = key.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    prefix.chars().chain(name).collect()
}

pub(super) async fn render(
    site: &Site,
    root: &str,
    follow: &Follow,
    template: &Path,
    output: &Path,
    hook: Option<&str>,
    once: bool,
) -> Result<u8, RecipeError> {
    let mut signals = Signals::catch()?;
    let mut feed = signals.over(start(site, root, follow)).await?;
    loop {
        let code = write_out(&feed.document(), template, output, hook).await;
        let failed = !matches!(code, Ok(0));
        if once || code.is_err() {
            feed.end().await;
            return code;
        }
        if failed {
            eprintln!("zab: the hook failed");
        }
        tokio::select! {
            () = feed.changed() => {}
            signal = signals.next() => {
                feed.end().await;
                return Ok(exit::of_signal(signal));
            }
        }
    }
}

/// Writes the file if it has changed, and runs the hook; its exit code.
async fn write_out(
    document: &Document,
    template: &Path,
    output: &Path,
    hook: Option<&str>,
) -> Result<u8, RecipeError> {
    let text = filled(&fs::read_to_string(template)?, document)?;
    if fs::read(output).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(0);
    }
    replace_file(output, text.as_bytes())?;
    let Some(hook) = hook else {
        return Ok(0);
    };
    let mut shell = tokio::process::Command::new("sh");
    Ok(child::exit_code(shell.args(["-c", hook]).status().await?))
}

/// A template with `{{key}}` replaced by the values of the keys.
fn filled(template: &str, document: &Document) -> Result<String, RecipeError> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((key, behind)) = behind.split_once("}}") else {
            break;
        };
        text.push_str(before);
        let value = document.values.get(key.trim());
        let value = value.ok_or_else(|| RecipeError::NoKey(key.trim().to_owned()))?;
        text.push_str(&value.text);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

/// Replaces a file as a whole: who reads it sees the old one or the new one, also after a power failure.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        fs::remove_file(&new).ok();
    }
    written
}

/// Follows a namespace in a task, over as many sessions as it takes, and waits for the first document: from the
/// servers, or from the cache when they are away.
async fn start(site: &Site, root: &str, follow: &Follow) -> Result<Feed, RecipeError> {
    let (sender, mut receiver) = watch::channel(Document::default());
    let (refuse, mut refusals) = mpsc::channel(1);
    let instance = Instance {
        id: follow.instance.clone().unwrap_or_else(instance_id),
        address: follow.address.clone().unwrap_or_default(),
        labels: follow.labels.iter().cloned().collect(),
    };
    let job = Job {
        site: site.clone(),
        root: root.to_owned(),
        namespace: follow.namespace.clone(),
        instance,
        cache: follow.cache.clone(),
        stop: Arc::new(Notify::new()),
        refusals: refuse,
    };
    let patience = site.options.timeout;
    let stop = Arc::clone(&job.stop);
    let task = tokio::spawn(job.go(sender));
    let feed = |documents| Feed {
        documents,
        stop,
        task,
    };
    let problem = tokio::select! {
        biased;
        changed = timeout(patience, receiver.changed()) => match changed {
            Ok(_) => return Ok(feed(receiver)),
            Err(_) => SessionError::NoServer {
                waited_ms: patience.as_millis(),
                reasons: Vec::new(),
            }
            .into(),
        },
        // Waiting would not help.
        Some(refusal) = refusals.recv() => refusal,
    };
    let Some(cache) = &follow.cache else {
        return Err(problem);
    };
    let document = Document::parse(&fs::read(cache)?).map_err(CentreError::from)?;
    eprintln!(
        "{problem}; going on with revision {} of {}",
        document.revision,
        cache.display()
    );
    // What comes later is newer.
    let (sender, mut cached) = watch::channel(document);
    cached.mark_changed();
    tokio::spawn(async move {
        while receiver.changed().await.is_ok() {
            let document = receiver.borrow_and_update().clone();
            sender.send_if_modified(|cached| {
                let is_new = *cached != document;
                *cached = document;
                is_new
            });
        }
    });
    Ok(feed(cached))
}

/// What is in force for this instance, as it comes.
struct Feed {
    documents: watch::Receiver<Document>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Feed {
    fn document(&mut self) -> Document {
        self.documents.borrow_and_update().clone()
    }

    async fn changed(&mut self) {
        if self.documents.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the session, so that the others see at once that nobody follows here any more.
    async fn end(self) {
        self.stop.notify_one();
        timeout(CLOSE_PATIENCE, self.task).await.ok();
    }
}

struct Job {
    site: Site,
    root: String,
    namespace: Namespace,
    instance: Instance,
    cache: Option<PathBuf>,
    stop: Arc<Notify>,
    /// What stands against following at all; only the first is read, if any.
    refusals: mpsc::Sender<RecipeError>,
}

impl Job {
    async fn go(self, sender: watch::Sender<Document>) {
        let mut listed = None;
        loop {
            let connect = self.site.connect();
            let client = tokio::select! {
                client = connect => client,
                () = self.stop.notified() => return,
            };
            let ended = match client {
                Err(error) => Err(error.into()),
                Ok(client) => tokio::select! {
                    ended = self.session(&client, &sender, &mut listed) => ended,
                    () = self.stop.notified() => return close(&client).await,
                },
            };
            if let Err(error) = ended {
                self.complain(error, "trying again");
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Says what is the matter, or leaves it to who waits for the first document if waiting makes no sense.
    fn complain(&self, error: CentreError, what_now: &str) {
        let words = format!("zab: {}: {error}; {what_now}", self.namespace);
        let error = RecipeError::from(error);
        let may_pass = matches!(
            error.kind(),
            exit::Kind::Unreachable | exit::Kind::SessionLost | exit::Kind::Unknown
        );
        if may_pass || self.refusals.try_send(error).is_err() {
            eprintln!("{words}");
        }
    }

    /// Follows as long as one session lives.
    async fn session(
        &self,
        client: &Client,
        sender: &watch::Sender<Document>,
        listed: &mut Option<Zxid>,
    ) -> Result<(), CentreError> {
        let centre = Centre::new(client, &self.root)?;
        let follower = Follower::new(&centre, &self.namespace, self.instance.clone()).await?;
        let mut follower = follower.after(*listed);
        // Ends with the session.
        let mut lookout = JoinSet::new();
        loop {
            let followed = match follower.next().await {
                Ok(followed) => followed,
                Err(CentreError::Model(error)) => {
                    self.complain(error.into(), "what was before stays");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let revision = followed.document.revision;
            if let Some(cache) = &self.cache {
                let bytes = followed.document.to_json().to_string();
                if let Err(error) = replace_file(cache, bytes.as_bytes()) {
                    eprintln!("zab: write {}: {error}", cache.display());
                }
            }
            sender.send_if_modified(|document| {
                // The first is told even if nothing was published, and the same one is not told twice.
                let is_new = revision == 0 || *document != followed.document;
                *document = followed.document;
                is_new
            });
            let hold = follower.hold(revision).await?;
            *listed = follower.listed();
            if hold == Hold::Listed && lookout.is_empty() {
                lookout.spawn(tell_of_another(
                    format!("{}", self.namespace),
                    self.instance.id.clone(),
                    follower.taken(),
                ));
            }
        }
    }
}

/// Says so when somebody else begins to go by the name of an instance.
async fn tell_of_another(
    namespace: String,
    id: String,
    taken: impl Future<Output = Result<SessionId, SessionError>>,
) {
    if let Ok(session) = taken.await {
        eprintln!(
            "zab: {namespace}: session {session} goes by the name {id}, too, and is listed in place of this one, which \
             follows on; give each a name of its own with --instance"
        );
    }
}

fn instance_id() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().replace('/', "_");
    format!("{host}:{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use zab::config::{Kind, Value};

    use super::*;

    fn document(values: &[(&str, Kind, &str)]) -> Document {
        let values = values.iter().map(|(key, kind, text)| {
            let (kind, text) = (*kind, (*text).to_owned());
            ((*key).to_owned(), Value { kind, text })
        });
        Document {
            values: values.collect(),
            ..Document::default()
        }
    }

    #[test]
    fn templates_take_what_is_there_and_refuse_what_is_not() {
        let document = document(&[("a", Kind::Text, "1"), ("b.c", Kind::Text, "{{a}}")]);
        for (template, text) in [
            ("x={{a}} y={{ b.c }}\n", Some("x=1 y={{a}}\n")),
            ("{{open", Some("{{open")),
            ("{{none}}", None),
        ] {
            assert_eq!(filled(template, &document).ok().as_deref(), text);
        }
        assert_eq!(variable("APP_", "b.c-d"), "APP_B_C_D");
    }
}
