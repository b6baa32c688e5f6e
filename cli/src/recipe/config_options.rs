//! What the command lines of the configuration centre look like.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use zab::config::{Kind, Namespace};

use super::options::{MORE_CODES, pair, seconds};
use crate::exit::{self, Kind as Exit};

/// The configuration centre: values of applications, published together, followed by instances.
///
/// NAMESPACE is ENVIRONMENT/APPLICATION, or ENVIRONMENT/APPLICATION/NAME where an application has several. The layout
/// is described in docs/config-centre.md. Without one of these words `zab config` prints the ensemble's own
/// configuration, as zkCli.sh.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab config", bin_name = "zab config", no_binary_name = true, disable_version_flag = true, after_help = codes())]
pub(crate) struct Config {
    /// The node of the configuration centre.
    #[arg(long, default_value = "/config", global = true)]
    pub(crate) root: String,
    #[command(subcommand)]
    pub(crate) action: Action,
}

fn codes() -> String {
    let codes = exit::lines(
        &[
            Exit::Done,
            Exit::Usage,
            Exit::Input,
            Exit::NoNode,
            Exit::Unreachable,
            Exit::Conflict,
            Exit::Local,
            Exit::NotAllowed,
            Exit::Unknown,
        ],
        &[
            (
                Exit::Done,
                "done; of run and render --hook that of the command",
            ),
            (
                Exit::Input,
                "a value is not of its type, or a file not of its form: nothing was changed",
            ),
            (
                Exit::NoNode,
                "there is no such key, revision or grey release",
            ),
            (
                Exit::Conflict,
                "somebody has published since, or there is a grey release: nothing was changed",
            ),
            (
                Exit::Unknown,
                "the connection was lost: it may be published or not",
            ),
        ],
    );
    format!("Exit codes:\n{codes}{MORE_CODES}")
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// Print environments, applications of one, or namespaces of one.
    List {
        /// Such as prod, or prod/shop.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Print what is in force: all of it, or one value.
    Get {
        namespace: Namespace,
        key: Option<String>,
        /// That revision in place of the one in force.
        #[arg(long)]
        revision: Option<u64>,
        /// How all of it is printed; what is printed can be published again.
        #[arg(long, value_enum, default_value_t = Format::Properties)]
        format: Format,
    },
    /// Publish values, all at one time.
    Publish {
        namespace: Namespace,
        #[command(flatten)]
        edit: Edit,
    },
    /// Publish values for some instances only; promote or abandon follows.
    Grey {
        namespace: Namespace,
        #[command(flatten)]
        edit: Edit,
        /// For the instance of this name.
        #[arg(long = "instance", value_name = "ID")]
        instances: Vec<String>,
        /// For instances with this address.
        #[arg(long = "address")]
        addresses: Vec<String>,
        /// For instances with this label.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
    },
    /// Put a grey release in force for all.
    Promote { namespace: Namespace },
    /// Take a grey release back.
    Abandon { namespace: Namespace },
    /// Print the last 100 revisions, newest first: number, milliseconds since 1970 UTC, author, comment.
    History { namespace: Namespace },
    /// Print what has changed from one revision to another, or to the one in force.
    Diff {
        namespace: Namespace,
        from: u64,
        to: Option<u64>,
    },
    /// Publish an earlier revision again, as a new one.
    Rollback {
        namespace: Namespace,
        revision: u64,
        /// Who does it [default: $USER].
        #[arg(long)]
        author: Option<String>,
    },
    /// Print which instances follow, and which revision each has taken.
    Holders { namespace: Namespace },
    /// Let only some read and publish the configuration of an application, or of all in an environment.
    Restrict {
        /// Such as prod/shop, or prod for all that is in it and is to come.
        #[arg(value_name = "ENVIRONMENT[/APPLICATION]")]
        place: String,
        /// Such as auth::cdrwa,digest:reader:HASH:r
        acl: String,
    },
    /// Print each document that is in force for an instance, one JSON object a line.
    Watch {
        #[command(flatten)]
        follow: Follow,
    },
    /// Run a command with the values in its environment, and anew when they change.
    Run {
        #[command(flatten)]
        follow: Follow,
        /// What names of environment variables begin with; a key db.url becomes DB_URL.
        #[arg(long, default_value = "")]
        prefix: String,
        /// What happens to the command when values change.
        #[arg(long, value_enum, default_value_t = OnChange::Restart)]
        on_change: OnChange,
        /// How long the command may take to end before it is killed, in seconds.
        #[arg(long, default_value = "10", value_parser = seconds)]
        grace: Duration,
        /// What to run.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Write a file from a template in which {{key}} stands for the value of key, and anew when values change.
    Render {
        #[command(flatten)]
        follow: Follow,
        /// The template.
        template: PathBuf,
        /// The file, which is replaced as a whole.
        output: PathBuf,
        /// A shell command to run when the file has changed.
        #[arg(long)]
        hook: Option<String>,
        /// Do it once and end.
        #[arg(long)]
        once: bool,
    },
}

/// What to publish: what is in force, with these changes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Edit {
    /// Values.
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) values: Vec<(String, String)>,
    /// What the values on the command line are [default: what they were before, or text].
    #[arg(long = "type", value_enum)]
    pub(crate) kind: Option<KindName>,
    /// Values from a file: an object if its name ends in .json, a mapping if in .yaml or .yml, else .properties.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// What is nested in the file becomes values with dots in their keys: a.b in place of a with b in it. Lists stay.
    #[arg(long, requires = "file")]
    pub(crate) flatten: bool,
    /// Remove a key.
    #[arg(long, value_name = "KEY")]
    pub(crate) delete: Vec<String>,
    /// Remove all other keys.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Why.
    #[arg(short = 'm', long, default_value = "")]
    pub(crate) comment: String,
    /// Who publishes it [default: $USER].
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// Only if this revision is in force.
    #[arg(long)]
    pub(crate) base: Option<u64>,
}

/// Who follows what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Follow {
    pub(crate) namespace: Namespace,
    /// The name of this instance [default: host name and process id]. Of several that go by one name all follow, and
    /// the latest is listed among the holders; the others say so.
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Its address, for grey releases.
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// Its labels, for grey releases.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// A file that keeps what was taken last, to begin with when no server answers.
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,
}

/// How a document is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As .properties.
    Properties,
    /// As an object of keys and values.
    Json,
    /// As it is kept, with author, comment and types.
    Document,
    /// As a mapping of keys and values.
    Yaml,
}

/// What happens on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnChange {
    /// It is ended and started with the new values.
    Restart,
    /// It gets SIGHUP, and keeps its environment.
    Hup,
    /// Nothing.
    Ignore,
}

/// What a value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindName {
    Boolean,
    Json,
    Number,
    Properties,
    Text,
    Yaml,
}

impl KindName {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Boolean => Kind::Boolean,
            Self::Json => Kind::Json,
            Self::Number => Kind::Number,
            Self::Properties => Kind::Properties,
            Self::Text => Kind::Text,
            Self::Yaml => Kind::Yaml,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_hold_together() {
        Config::command().debug_assert();
        let words = [
            "publish",
            "prod/shop",
            "a=1",
            "b=x=y",
            "-m",
            "why",
            "--root",
            "/c",
        ];
        let config = Config::try_parse_from(words).unwrap();
        assert_eq!(config.root, "/c");
        let Action::Publish { namespace, edit } = config.action else {
            panic!("another action");
        };
        assert_eq!(namespace.to_string(), "prod/shop/application");
        assert_eq!(edit.values[1], ("b".to_owned(), "x=y".to_owned()));
        for wrong in [
            &["publish", "prod"][..],
            &["publish", "a/b", "=1"],
            &["run", "a/b"],
        ] {
            assert!(Config::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
