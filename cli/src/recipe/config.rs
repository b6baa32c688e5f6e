//! `zab config`: the configuration centre.

use std::fs;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use zab::Client;
use zab::config::{
    Centre, CentreError, Document, Grey, Kind, Namespace, Rule, Value, differences,
    write_properties,
};

use super::child::{Orders, Signals};
use super::config_files as files;
use super::config_follow::{render, run, watch_documents};
use super::config_options::{self as options, Action, Edit};
use super::lock::close;
use super::{RecipeError, Site};

pub(super) async fn config(
    site: &Site,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Config::try_parse_from(words)?;
    zab::path::validate(&options.root)?;
    match &options.action {
        Action::Watch { follow } => return watch_documents(site, &options.root, follow, out).await,
        Action::Run {
            follow,
            prefix,
            on_change,
            grace,
            command,
        } => {
            let orders = Orders {
                signal: rustix::process::Signal::TERM,
                grace: *grace,
            };
            return run(
                site,
                &options.root,
                follow,
                prefix,
                *on_change,
                orders,
                command,
            )
            .await;
        }
        Action::Render {
            follow,
            template,
            output,
            hook,
            once,
        } => {
            return render(
                site,
                &options.root,
                follow,
                template,
                output,
                hook.as_deref(),
                *once,
            )
            .await;
        }
        _ => {}
    }
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let asked = site.answered(&client, ask(&client, &options, out));
    let done = signals.over(asked).await;
    close(&client).await;
    done.map(|()| 0)
}

async fn ask(
    client: &Client,
    options: &options::Config,
    out: &mut dyn Write,
) -> Result<(), RecipeError> {
    let centre = Centre::new(client, &options.root)?;
    match &options.action {
        Action::List { prefix } => {
            for name in centre.list(prefix).await? {
                writeln!(out, "{name}")?;
            }
        }
        Action::Get {
            namespace,
            key,
            revision,
            format,
        } => {
            let document = match revision {
                Some(revision) => centre.revision(namespace, *revision).await?,
                None => centre.current(namespace).await?,
            };
            match key {
                Some(key) => {
                    let value = document.values.get(key);
                    let value = value.ok_or_else(|| RecipeError::NoKey(key.clone()))?;
                    writeln!(out, "{}", value.text)?;
                }
                None => out.write_all(files::print(&document, *format).as_bytes())?,
            }
        }
        Action::Publish { namespace, edit } => {
            let (base, document) = edited(&centre, namespace, edit).await?;
            let document = centre.publish(namespace, base, document).await?;
            writeln!(out, "{namespace} is at revision {}", document.revision)?;
        }
        Action::Grey {
            namespace,
            edit,
            instances,
            addresses,
            labels,
        } => {
            let (base, document) = edited(&centre, namespace, edit).await?;
            let rule = Rule {
                instances: instances.iter().cloned().collect(),
                addresses: addresses.iter().cloned().collect(),
                labels: labels.iter().cloned().collect(),
            };
            let grey = centre
                .release_grey(namespace, base, Grey { document, rule })
                .await?;
            writeln!(
                out,
                "{namespace} has grey revision {}",
                grey.document.revision
            )?;
        }
        Action::Promote { namespace } => {
            let document = centre.promote(namespace).await?;
            writeln!(out, "{namespace} is at revision {}", document.revision)?;
        }
        Action::Abandon { namespace } => centre.abandon(namespace).await?,
        Action::History { namespace } => {
            for document in centre.history(namespace).await? {
                writeln!(
                    out,
                    "{}\t{}\t{}\t{}",
                    document.revision, document.time_ms, document.author, document.comment
                )?;
            }
        }
        Action::Diff {
            namespace,
            from,
            to,
        } => {
            let from = centre.revision(namespace, *from).await?;
            let to = match to {
                Some(to) => centre.revision(namespace, *to).await?,
                None => centre.current(namespace).await?,
            };
            for change in differences(&from, &to) {
                for (sign, value) in [('-', change.before), ('+', change.after)] {
                    if let Some(value) = value {
                        let pair = write_properties([(change.key.as_str(), value.text.as_str())]);
                        write!(out, "{sign} {pair}")?;
                    }
                }
            }
        }
        Action::Rollback {
            namespace,
            revision,
            author,
        } => {
            let base = centre.current(namespace).await?.revision;
            let mut document = centre.revision(namespace, *revision).await?;
            document.comment = format!("as revision {revision}: {}", document.comment);
            document.author = author.clone().unwrap_or_else(user);
            document.time_ms = now_ms();
            let document = centre.publish(namespace, base, document).await?;
            writeln!(out, "{namespace} is at revision {}", document.revision)?;
        }
        Action::Holders { namespace } => {
            for holder in centre.holders(namespace).await? {
                let line = format!(
                    "{}\t{}\t{}",
                    holder.revision, holder.instance.id, holder.instance.address
                );
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Action::Restrict { place, acl } => {
            let parsed = crate::format::acl::parse_acl(acl);
            if let Some(complaint) = parsed.complaints.into_iter().next() {
                return Err(RecipeError::Acl(complaint));
            }
            match place.trim_end_matches('/') {
                environment if !environment.contains('/') => {
                    centre
                        .restrict_environment(environment, &parsed.acl)
                        .await?;
                }
                place => {
                    let namespace = place.parse().map_err(CentreError::Model)?;
                    centre.restrict(&namespace, &parsed.acl).await?;
                }
            }
        }
        Action::Watch { .. } | Action::Run { .. } | Action::Render { .. } => {}
    }
    Ok(())
}

/// What is to be published, and the revision that it was made from.
async fn edited(
    centre: &Centre,
    namespace: &Namespace,
    edit: &Edit,
) -> Result<(u64, Document), RecipeError> {
    let mut document = centre.current(namespace).await?;
    let base = edit.base.unwrap_or(document.revision);
    if edit.replace {
        document.values.clear();
    }
    if let Some(file) = &edit.file {
        let text = fs::read_to_string(file).map_err(|source| RecipeError::File {
            name: file.display().to_string(),
            source,
        })?;
        let values = files::read(file, &text, edit.flatten).map_err(RecipeError::Input)?;
        for (key, value) in values {
            document.values.insert(key, value);
        }
    }
    for key in &edit.delete {
        document.values.remove(key);
    }
    for (key, text) in &edit.values {
        let kind = match edit.kind {
            Some(kind) => kind.kind(),
            None => document
                .values
                .get(key)
                .map_or(Kind::Text, |value| value.kind),
        };
        let value = Value::checked(key, kind, text.clone()).map_err(CentreError::from)?;
        document.values.insert(key.clone(), value);
    }
    document.author = edit.author.clone().unwrap_or_else(user);
    document.comment = edit.comment.clone();
    document.time_ms = now_ms();
    Ok((base, document))
}

fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
