//! The connectors that are built in, and those of a project over them.
//!
//! A built-in one is read when somebody names it, once for the whole process: a project uses a few of them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Action, Connector, Problem};

/// The files shipped in the binary, by name and text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("connectors/airtable.yaml", include_str!("../../connectors/airtable.yaml")),
    ("connectors/asana.yaml", include_str!("../../connectors/asana.yaml")),
    ("connectors/aws_s3.yaml", include_str!("../../connectors/aws_s3.yaml")),
    ("connectors/aws_sns.yaml", include_str!("../../connectors/aws_sns.yaml")),
    ("connectors/aws_sqs.yaml", include_str!("../../connectors/aws_sqs.yaml")),
    ("connectors/azure_blob.yaml", include_str!("../../connectors/azure_blob.yaml")),
    ("connectors/azure_queue.yaml", include_str!("../../connectors/azure_queue.yaml")),
    ("connectors/azure_table.yaml", include_str!("../../connectors/azure_table.yaml")),
    ("connectors/brevo.yaml", include_str!("../../connectors/brevo.yaml")),
    ("connectors/data.yaml", include_str!("../../connectors/data.yaml")),
    ("connectors/discord.yaml", include_str!("../../connectors/discord.yaml")),
    ("connectors/dynamics365.yaml", include_str!("../../connectors/dynamics365.yaml")),
    ("connectors/file.yaml", include_str!("../../connectors/file.yaml")),
    ("connectors/github.yaml", include_str!("../../connectors/github.yaml")),
    ("connectors/gitlab.yaml", include_str!("../../connectors/gitlab.yaml")),
    ("connectors/google_chat.yaml", include_str!("../../connectors/google_chat.yaml")),
    ("connectors/google_sheets.yaml", include_str!("../../connectors/google_sheets.yaml")),
    ("connectors/http.yaml", include_str!("../../connectors/http.yaml")),
    ("connectors/hubspot.yaml", include_str!("../../connectors/hubspot.yaml")),
    ("connectors/intercom.yaml", include_str!("../../connectors/intercom.yaml")),
    ("connectors/jira.yaml", include_str!("../../connectors/jira.yaml")),
    ("connectors/linear.yaml", include_str!("../../connectors/linear.yaml")),
    ("connectors/mailchimp.yaml", include_str!("../../connectors/mailchimp.yaml")),
    ("connectors/marketo.yaml", include_str!("../../connectors/marketo.yaml")),
    ("connectors/mattermost.yaml", include_str!("../../connectors/mattermost.yaml")),
    ("connectors/monday.yaml", include_str!("../../connectors/monday.yaml")),
    ("connectors/notion.yaml", include_str!("../../connectors/notion.yaml")),
    ("connectors/ntfy.yaml", include_str!("../../connectors/ntfy.yaml")),
    ("connectors/odata.yaml", include_str!("../../connectors/odata.yaml")),
    ("connectors/openai_compatible.yaml", include_str!("../../connectors/openai_compatible.yaml")),
    ("connectors/pagerduty.yaml", include_str!("../../connectors/pagerduty.yaml")),
    ("connectors/pipedrive.yaml", include_str!("../../connectors/pipedrive.yaml")),
    ("connectors/salesforce.yaml", include_str!("../../connectors/salesforce.yaml")),
    ("connectors/salesforce_web_to_lead.yaml", include_str!("../../connectors/salesforce_web_to_lead.yaml")),
    ("connectors/sendgrid.yaml", include_str!("../../connectors/sendgrid.yaml")),
    ("connectors/slack.yaml", include_str!("../../connectors/slack.yaml")),
    ("connectors/slack_webhook.yaml", include_str!("../../connectors/slack_webhook.yaml")),
    ("connectors/smtp.yaml", include_str!("../../connectors/smtp.yaml")),
    ("connectors/sql.yaml", include_str!("../../connectors/sql.yaml")),
    ("connectors/stripe.yaml", include_str!("../../connectors/stripe.yaml")),
    ("connectors/supabase.yaml", include_str!("../../connectors/supabase.yaml")),
    ("connectors/teams.yaml", include_str!("../../connectors/teams.yaml")),
    ("connectors/telegram.yaml", include_str!("../../connectors/telegram.yaml")),
    ("connectors/trello.yaml", include_str!("../../connectors/trello.yaml")),
    ("connectors/twilio.yaml", include_str!("../../connectors/twilio.yaml")),
    ("connectors/webhook.yaml", include_str!("../../connectors/webhook.yaml")),
    ("connectors/zendesk.yaml", include_str!("../../connectors/zendesk.yaml")),
    ("connectors/zoho_crm.yaml", include_str!("../../connectors/zoho_crm.yaml")),
];

/// Those of them that were read; `None` for one with a problem, which a test rules out.
static READ: [OnceLock<Option<Arc<Connector>>>; SHIPPED.len()] = [const { OnceLock::new() }; SHIPPED.len()];

/// Its name, which a test holds to that of the connector in it.
fn name_of(file: &str) -> &str {
    file.strip_prefix("connectors/").and_then(|file| file.strip_suffix(".yaml")).unwrap_or(file)
}

fn read(index: usize) -> Option<&'static Arc<Connector>> {
    let (file, text) = SHIPPED[index];
    READ[index].get_or_init(|| Connector::parse(file, text).ok().map(Arc::new)).as_ref()
}

fn find(name: &str) -> Option<&'static Arc<Connector>> {
    read(SHIPPED.iter().position(|(file, _)| name_of(file) == name)?)
}

/// Every connector known, by name.
#[derive(Debug, Clone, Default)]
pub struct Connectors {
    own: BTreeMap<String, Arc<Connector>>,
    with_shipped: bool,
}

impl Connectors {
    /// These alone.
    pub fn only(connectors: impl IntoIterator<Item = Connector>) -> Connectors {
        let own = connectors.into_iter().map(|connector| (connector.name.clone(), Arc::new(connector)));
        Connectors { own: own.collect(), with_shipped: false }
    }

    /// The shipped connectors alone.
    pub fn shipped() -> Connectors {
        Connectors { own: BTreeMap::new(), with_shipped: true }
    }

    /// The shipped connectors, and over them these files (name, text). A file with a problem is left out, and so is
    /// the second of two files that describe one connector; a shipped one that it would have replaced stays.
    pub fn from_sources<'s>(files: impl IntoIterator<Item = (&'s str, &'s str)>) -> (Connectors, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut own = BTreeMap::new();
        let mut first: BTreeMap<String, &str> = BTreeMap::new();
        for (file, text) in files {
            // What a run pinned is mostly what is built in still.
            let same = SHIPPED.iter().position(|(_, shipped)| *shipped == text).and_then(read);
            let connector = match same.cloned().map_or_else(|| Connector::parse(file, text).map(Arc::new), Ok) {
                Ok(connector) => connector,
                Err(wrong) => {
                    problems.extend(wrong);
                    continue;
                }
            };
            if let Some(first) = first.get(&connector.name) {
                problems.push(Problem {
                    code: "E-CON-008",
                    file: file.into(),
                    pointer: "/connector".into(),
                    what: format!("`{}` is described by {first} already", connector.name),
                    hint: Some("give it another name, or remove one of the two files".into()),
                });
                continue;
            }
            first.insert(connector.name.clone(), file);
            own.insert(connector.name.clone(), connector);
        }
        (Connectors { own, with_shipped: true }, problems)
    }

    /// The connector of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Connector>> {
        self.own.get(name).or_else(|| if self.with_shipped { find(name) } else { None })
    }

    /// All names, in order. Reads nothing.
    pub fn names(&self) -> Vec<&str> {
        let shipped = SHIPPED.iter().filter(|_| self.with_shipped).map(|(file, _)| name_of(file));
        let mut names: Vec<&str> = self.own.keys().map(String::as_str).chain(shipped).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.names().into_iter().filter_map(|name| self.get(name))
    }

    /// Connector and action of `dynamics365.create_record`.
    pub fn action(&self, name: &str) -> Option<(&Arc<Connector>, &Action)> {
        let (connector, action) = name.split_once('.')?;
        let connector = self.get(connector)?;
        Some((connector, connector.actions.get(action)?))
    }
}
