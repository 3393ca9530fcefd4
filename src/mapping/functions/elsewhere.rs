//! Functions of Microsoft's language that are paths in this one, so that whoever writes one is told the path.

/// The name, and the path to write.
const PATHS: &[(&str, &str)] = &[
    ("action", "`steps.ID` with its `output`, `status` and `error`"),
    ("actionBody", "`steps.ID.output`"),
    ("actionOutputs", "`steps.ID.output`"),
    ("actions", "`steps.ID` with its `output`, `status` and `error`"),
    ("agentParameters", "`trigger.body.NAME`"),
    ("appsetting", "`env.NAME`"),
    ("body", "`steps.ID.output`"),
    ("formDataMultiValues", "`steps.ID.output.NAME`"),
    ("formDataValue", "`steps.ID.output.NAME`"),
    ("item", "`item`, without brackets"),
    ("items", "`loops.ID.item`"),
    ("iterationIndexes", "`loops.ID.index`"),
    ("listCallbackUrl", "`run.resume_urls.ID`"),
    ("multipartBody", "`steps.ID.output`"),
    ("outputs", "`steps.ID.output`"),
    ("parameters", "`env.NAME`, or `trigger.body.NAME` for the inputs of a manual flow"),
    ("result", "`steps.ID` of each step inside"),
    ("trigger", "`trigger` with its `body`, `headers`, `query`, `path` and `method`"),
    ("triggerBody", "`trigger.body`"),
    ("triggerFormDataMultiValues", "`trigger.body.NAME`; the fields of a form are fields of the body"),
    ("triggerFormDataValue", "`trigger.body.NAME`; the fields of a form are fields of the body"),
    ("triggerMultipartBody", "`trigger.body.NAME`; the parts of a form are fields of the body"),
    ("triggerOutputs", "`trigger` with its `body`, `headers`, `query`, `path` and `method`"),
    ("variables", "`vars.NAME`"),
    ("workflow", "`flow.id` and `run.id`"),
];

/// What to write in place of a function that is a path here.
pub fn path_instead(name: &str) -> Option<&'static str> {
    PATHS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, path)| *path)
}

/// True for a name that can only have been meant as one of Microsoft's functions, even where a key might stand.
pub fn never_a_key(name: &str) -> bool {
    let compound = ["triggerBody", "triggerOutputs", "triggerFormDataValue", "triggerFormDataMultiValues"];
    compound.contains(&name) || ["triggerMultipartBody", "iterationIndexes", "listCallbackUrl"].contains(&name)
}
