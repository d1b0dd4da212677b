//! The forms of a Task's `Resource` (spec/asl.md 5).

use super::{Resource, ResourceKind};

/// How a service integration is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Call and take the answer.
    Request,
    /// `.sync` or `.sync:2`: run a job and wait for its end.
    Job,
    /// `.waitForTaskToken`: wait for a callback.
    Callback,
}

/// An optimised integration: the service, its actions, and whether it can wait for jobs and for callbacks.
type Integration = (&'static str, &'static [&'static str], bool, bool);

const INTEGRATIONS: [Integration; 21] = [
    ("apigateway", &["invoke"], false, true),
    ("athena", &["getQueryExecution", "getQueryResults", "startQueryExecution", "stopQueryExecution"], true, false),
    ("batch", &["submitJob"], true, false),
    ("bedrock", &["createModelCustomizationJob", "invokeModel"], true, true),
    (
        "codebuild",
        &["batchDeleteBuilds", "batchGetReports", "deleteBuildBatch", "retryBuildBatch", "startBuild", "startBuildBatch", "stopBuild", "stopBuildBatch"],
        true,
        false,
    ),
    ("databrew", &["startJobRun"], true, false),
    ("dynamodb", &["deleteItem", "getItem", "putItem", "updateItem"], false, false),
    ("ecs", &["runTask"], true, true),
    (
        "eks",
        &[
            "call",
            "createAddon",
            "createCluster",
            "createFargateProfile",
            "createNodegroup",
            "deleteAddon",
            "deleteCluster",
            "deleteFargateProfile",
            "deleteNodegroup",
            "runJob",
        ],
        true,
        true,
    ),
    (
        "elasticmapreduce",
        &[
            "addStep",
            "cancelStep",
            "createCluster",
            "modifyInstanceFleetByName",
            "modifyInstanceGroupByName",
            "setClusterTerminationProtection",
            "terminateCluster",
        ],
        true,
        false,
    ),
    ("emr-containers", &["createVirtualCluster", "deleteVirtualCluster", "startJobRun"], true, false),
    ("emr-serverless", &["cancelJobRun", "createApplication", "deleteApplication", "startApplication", "startJobRun", "stopApplication"], true, false),
    ("events", &["putEvents"], false, true),
    ("glue", &["startJobRun"], true, false),
    ("http", &["invoke"], false, false),
    ("lambda", &["invoke"], false, true),
    ("mediaconvert", &["createJob"], true, false),
    (
        "sagemaker",
        &[
            "createEndpoint",
            "createEndpointConfig",
            "createHyperParameterTuningJob",
            "createLabelingJob",
            "createModel",
            "createProcessingJob",
            "createTrainingJob",
            "createTransformJob",
            "updateEndpoint",
        ],
        true,
        false,
    ),
    ("sns", &["publish"], false, true),
    ("sqs", &["sendMessage"], false, true),
    ("states", &["startExecution"], true, true),
];

/// Classifies the text of a `Resource`; the error is AWS's message.
pub(super) fn classify(text: &str) -> Result<(Resource, Pattern), String> {
    let found = if text.starts_with("arn:") {
        arn(text).ok_or_else(|| unrecognized(text))
    } else {
        own(text).ok_or_else(|| "Value is not a valid resource ARN".to_owned())
    };
    found.map(|(kind, pattern)| (Resource { arn: text.to_owned(), kind }, pattern))
}

fn unrecognized(text: &str) -> String {
    format!("The resource provided {text} is not recognized. The value is not a valid resource ARN, or the resource is not available in this region.")
}

/// `SCHEME:NAME` is a handler of our own; a bare `${Placeholder}` stands for what a deployment tool fills in.
fn own(text: &str) -> Option<(ResourceKind, Pattern)> {
    let is_placeholder = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(is_word);
    let is_native = text.split_once(':').is_some_and(|(scheme, name)| is_word(scheme) && !name.is_empty() && !name.chars().any(char::is_whitespace));
    (is_placeholder || (is_native && !text.contains("${"))).then_some((ResourceKind::Native, Pattern::Request))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':'))
}

fn arn(text: &str) -> Option<(ResourceKind, Pattern)> {
    let parts = split(text);
    let [_, partition, service, _region, _account, rest @ ..] = &parts[..] else { return None };
    if partition.is_empty() {
        return None;
    }
    match (*service, rest) {
        ("lambda", ["function", name]) if is_lambda_name(name) => Some((ResourceKind::Lambda, Pattern::Request)),
        ("lambda", ["function", name, qualifier]) if is_lambda_name(name) && is_qualifier(qualifier) => Some((ResourceKind::Lambda, Pattern::Request)),
        ("states", ["activity", name]) if !name.is_empty() => Some((ResourceKind::Activity, Pattern::Request)),
        ("states", ["aws-sdk", service, action]) => {
            let (action, pattern) = strip_pattern(action, None)?;
            let known = is_placeholder(service) || is_placeholder(action) || (is_word(service) && action.starts_with(|first: char| first.is_ascii_lowercase()));
            (known && pattern != Pattern::Job).then(|| (ResourceKind::Service { service: format!("aws-sdk:{service}"), action: action.to_owned() }, pattern))
        }
        ("states", [service, action]) => optimised(service, action, None),
        ("states", [service, action, version]) => optimised(service, action, Some(version)),
        _ => None,
    }
}

fn optimised(service: &str, action: &str, version: Option<&str>) -> Option<(ResourceKind, Pattern)> {
    let (action, pattern) = strip_pattern(action, version)?;
    let is_known = || {
        let &(_, actions, jobs, callbacks) = INTEGRATIONS.iter().find(|(known, ..)| *known == service)?;
        let offered = match pattern {
            Pattern::Request => true,
            Pattern::Job => jobs && (version.is_none() || service == "states"),
            Pattern::Callback => callbacks,
        };
        (offered && actions.contains(&action)).then_some(())
    };
    if !is_placeholder(service) && !is_placeholder(action) {
        is_known()?;
    }
    Some((ResourceKind::Service { service: service.to_owned(), action: action.to_owned() }, pattern))
}

fn strip_pattern<'t>(action: &'t str, version: Option<&str>) -> Option<(&'t str, Pattern)> {
    if let Some(action) = action.strip_suffix(".sync") {
        return version.is_none_or(|version| version == "2").then_some((action, Pattern::Job));
    }
    let stripped = match action.strip_suffix(".waitForTaskToken") {
        Some(action) => (action, Pattern::Callback),
        None => (action, Pattern::Request),
    };
    version.is_none().then_some(stripped)
}

/// The parts between colons, those inside `${…}` left alone.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut previous = ' ';
    text.split(|character: char| {
        inside = (inside || (previous == '$' && character == '{')) && character != '}';
        previous = character;
        character == ':' && !inside
    })
    .collect()
}

fn is_placeholder(text: &str) -> bool {
    text.contains("${")
}

fn is_lambda_name(name: &str) -> bool {
    is_placeholder(name) || (!name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_')))
}

fn is_qualifier(qualifier: &str) -> bool {
    qualifier == "$LATEST" || is_lambda_name(qualifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(service: &str, action: &str) -> ResourceKind {
        ResourceKind::Service { service: service.to_owned(), action: action.to_owned() }
    }

    #[test]
    fn every_form_is_classified() {
        let cases = [
            ("arn:aws:lambda:eu-west-1:111122223333:function:pack", ResourceKind::Lambda, Pattern::Request),
            ("arn:aws:lambda:eu-west-1:111122223333:function:pack:$LATEST", ResourceKind::Lambda, Pattern::Request),
            ("arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${Name}", ResourceKind::Lambda, Pattern::Request),
            ("arn:aws:states:::lambda:invoke", service("lambda", "invoke"), Pattern::Request),
            ("arn:aws:states:::aws-sdk:s3:getObject", service("aws-sdk:s3", "getObject"), Pattern::Request),
            ("arn:aws:states:eu-west-1:111122223333:aws-sdk:s3:getObject", service("aws-sdk:s3", "getObject"), Pattern::Request),
            ("arn:aws:states:::states:startExecution.sync:2", service("states", "startExecution"), Pattern::Job),
            ("arn:aws:states:::sqs:sendMessage.waitForTaskToken", service("sqs", "sendMessage"), Pattern::Callback),
            ("arn:aws:states:eu-west-1:111122223333:activity:paint", ResourceKind::Activity, Pattern::Request),
            ("native:echo", ResourceKind::Native, Pattern::Request),
            ("${PackFunctionArn}", ResourceKind::Native, Pattern::Request),
        ];
        for (text, kind, pattern) in cases {
            let (resource, found) = classify(text).unwrap_or_else(|message| panic!("{text}: {message}"));
            assert_eq!((resource.kind, found), (kind, pattern), "{text}");
        }
    }

    #[test]
    fn unknown_resources_are_refused_with_the_services_text() {
        for text in [
            "arn:aws:states:::dynamodb:query",
            "arn:aws:states:::lambda:invoke.sync",
            "arn:aws:states:::batch:submitJob.sync:2",
            "arn:aws:states:::nope:run",
            "arn:aws:swf:eu-west-1:111122223333:task:x",
            "arn:aws:lambda:eu-west-1:111122223333:function:pack:",
            "arn:aws:states:::aws-sdk:s3:GetObject",
            "arn:",
        ] {
            assert!(classify(text).expect_err(text).starts_with(&format!("The resource provided {text} is not recognized.")), "{text}");
        }
        for text in ["pack", "", "${Open", "a b:c", ":x"] {
            assert_eq!(classify(text).expect_err(text), "Value is not a valid resource ARN");
        }
    }
}
