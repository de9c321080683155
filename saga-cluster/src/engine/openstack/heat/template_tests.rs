use serde_json::{Map, Value, json};

use super::*;

pub(crate) fn cluster() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

/// A machine of the cluster `demo`, whose token follows from its name.
pub(crate) fn member(name: &str) -> Member {
    let name: NodeName = name.parse().unwrap();
    let token = NodeToken::derive(&name, "key");
    let properties = Map::from_iter([("flavor".to_owned(), json!("small"))]);
    Member::new(&cluster(), name, token, properties)
}

/// A sealed template with these machines.
pub(crate) fn document(names: &[&str]) -> Document {
    let add = names.iter().map(|name| member(name)).collect();
    Document::first(&cluster()).changed(&Change { add, ..Change::default() }).seal()
}

fn names(document: &Document) -> Vec<String> {
    document.members().map(|member| member.name.to_string()).collect()
}

/// What Heat does with an update, as far as marks go: it keeps the parameters that are not sent, and holds all of them
/// against the template.
pub(crate) fn accepts(parameters: &mut Map<String, Value>, sent: &Sent) -> bool {
    let mut merged = parameters.clone();
    merged.extend(sent.parameters.as_object().unwrap().clone());
    let allowed = |(name, value): (&String, &Value)| {
        sent.template["parameters"][name]["constraints"][0]["allowed_values"].as_array().unwrap().contains(value)
    };
    let accepted = merged.iter().all(allowed);
    if accepted {
        *parameters = merged;
    }
    accepted
}

pub(crate) fn parameters_of(document: &Document) -> Map<String, Value> {
    document.to_make().parameters.as_object().unwrap().clone()
}

#[test]
fn what_is_written_is_read_back() {
    let written = document(&["w-1", "w-10", "data-2"]);
    let read = Document::read(&cluster(), &written.to_update().template).unwrap();
    assert_eq!(read, written);
    let changed = written.changed(&Change { remove: vec![member("w-1").token], close: true, ..Change::default() });
    assert_eq!(Document::read(&cluster(), &changed.to_update().template).unwrap(), changed);
    assert_eq!(names(&changed), ["data-2", "w-10"]);
    assert!(changed.is_closed() && !changed.is_sealed());
}

#[test]
fn a_machine_is_one_resource_under_its_own_name_and_can_be_told_by_its_server() {
    let template = document(&["w-3"]).to_update().template;
    let server = &template["resources"]["w-3"];
    assert_eq!(server["type"], "OS::Nova::Server");
    assert_eq!(server["properties"]["name"], "demo.w-3");
    assert_eq!(server["properties"]["flavor"], "small");
    let token = member("w-3").token.to_string();
    assert_eq!(
        server["properties"]["metadata"],
        json!({"saga_cluster": "demo", "saga_node": "w-3", "saga_token": token})
    );
}

#[test]
fn what_others_wrote_is_not_ours() {
    for other in [
        json!({}),
        json!({"heat_template_version": "2018-08-31", "resources": {}}),
        Document::first(&ClusterName::new("other").unwrap()).to_make().template,
    ] {
        assert_eq!(Document::read(&cluster(), &other), None);
    }
    let mut meddled = document(&["w-1"]).to_make().template;
    meddled["resources"]["port"] = json!({"type": "OS::Neutron::Port"});
    assert_eq!(Document::read(&cluster(), &meddled), None, "what it is that we do not know, we do not remove");
}

#[test]
fn a_change_and_its_seal_are_accepted_one_after_the_other() {
    let first = Document::first(&cluster());
    let mut stack = parameters_of(&first);
    let change = first.changed(&Change { add: vec![member("w-1")], ..Change::default() });
    assert!(accepts(&mut stack, &change.to_update()));
    assert!(accepts(&mut stack, &change.seal().to_update()));
    let next = change.seal().changed(&Change { add: vec![member("w-2")], ..Change::default() });
    assert!(accepts(&mut stack, &next.to_update()));
    // One that was not sealed can be changed too: that is how what failed is taken out again.
    let without = next.changed(&Change { remove: vec![member("w-2").token], ..Change::default() });
    assert!(accepts(&mut stack, &without.to_update()));
    assert!(accepts(&mut stack, &without.seal().to_update()));
}

#[test]
fn an_update_of_an_old_template_is_refused_once_another_change_is_sealed() {
    let read = document(&["w-1", "w-2"]);
    let mut stack = parameters_of(&read);
    let stale = read.changed(&Change { remove: vec![member("w-1").token], ..Change::default() });
    let newer = read.changed(&Change { add: vec![member("w-3")], ..Change::default() });
    assert!(accepts(&mut stack, &newer.to_update()));
    assert!(accepts(&mut stack, &newer.seal().to_update()));
    assert!(!accepts(&mut stack, &stale.to_update()), "it would remove w-3");
    assert!(!accepts(&mut stack, &stale.seal().to_update()));
    assert!(!accepts(&mut stack, &read.seal().to_update()));
}

#[test]
fn what_another_change_came_upon_cannot_be_sealed() {
    let read = document(&["w-1"]);
    let mut stack = parameters_of(&read);
    let mine = read.changed(&Change { add: vec![member("w-2")], ..Change::default() });
    let other = read.changed(&Change { add: vec![member("w-3")], ..Change::default() });
    assert!(accepts(&mut stack, &mine.to_update()));
    assert!(accepts(&mut stack, &other.to_update()), "nothing is sealed yet, so nobody was told that w-2 is made");
    assert!(!accepts(&mut stack, &mine.seal().to_update()), "so nobody will be");
    assert!(accepts(&mut stack, &other.seal().to_update()));
}

#[test]
fn the_refusal_of_marks_is_told_from_other_mistakes() {
    assert!(is_refusal_of_marks(r#"Parameter 'saga_sealed' is invalid: "b" is not an allowed value ["a"]"#));
    assert!(!is_refusal_of_marks(
        "Property error: : resources.w-9.properties.flavor: : Error validating value 'nope': No Flavor matching \
         {'name': 'nope'}. (HTTP 404)"
    ));
}
