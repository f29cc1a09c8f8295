//! What runtimes say of themselves.

use serde_json::{Map, Value};
use stowd_api::Any;
use stowd_api::runc::v1 as runc;
use stowd_api::runtimeoptions::v1 as runtimeoptions;
use stowd_api::types;
use stowd_core::introspection::Introspection as _;
use stowd_core::{Error, Labels, Result};

use crate::Client;

/// What a runtime is and can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeInfo {
    /// Its name, such as `io.containerd.runc.v2`.
    pub name: String,
    /// The shim's version.
    pub version: String,
    /// The revision that the shim was built from.
    pub revision: String,
    /// The options that it was asked with, those that are set, under the names of their messages.
    pub options: Option<Value>,
    /// The OCI features structure.
    pub features: Option<Value>,
    /// What else it tells.
    pub annotations: Labels,
}

impl Client {
    /// Asks a runtime, by its name or its shim's path, what it can do with some options. An empty
    /// name means the namespace's default.
    ///
    /// # Errors
    /// `NotImplemented` by daemons before containerd 2.0, those of finding and running the shim.
    pub async fn runtime_info(
        &self,
        runtime: &str,
        options: Option<stowd_core::Any>,
    ) -> Result<RuntimeInfo> {
        let runtime = match runtime {
            "" => self.defaults().await?.runtime,
            name => name.to_owned(),
        };
        let request =
            types::RuntimeRequest { runtime_path: runtime, options: options.map(Into::into) };
        let introspection = self.connection().introspection();
        let asked = Some(Any::pack(&request).into());
        let (_, extra) =
            introspection.plugin_info("io.containerd.runtime.v2", "task", asked).await?;
        let info = extra.map(Any::from).and_then(|extra| extra.unpack().transpose());
        let info: types::RuntimeInfo = info
            .ok_or_else(|| Error::unknown("the daemon answers without information on a runtime"))?
            .map_err(|error| Error::unknown(format_args!("information on a runtime: {error}")))?;
        let version = info.version.unwrap_or_default();
        Ok(RuntimeInfo {
            name: info.name,
            version: version.version,
            revision: version.revision,
            options: info.options.map(|any| options_in_json(&any)).transpose()?,
            features: info.features.map(|any| features_in_json(&any)).transpose()?,
            annotations: info.annotations.into_iter().collect(),
        })
    }
}

fn features_in_json(any: &Any) -> Result<Value> {
    serde_json::from_slice(&any.value)
        .map_err(|error| Error::unknown(format_args!("{}: {error}", any.type_url)))
}

/// Shows what is set in options of the two kinds that there are; of others only the kind.
fn options_in_json(any: &Any) -> Result<Value> {
    let wrong = |error| Error::unknown(format_args!("{}: {error}", any.type_url));
    let fields: Vec<(&str, Value)> =
        if let Some(of) = any.unpack::<runc::Options>().map_err(wrong)? {
            vec![
                ("no_pivot_root", of.no_pivot_root.into()),
                ("no_new_keyring", of.no_new_keyring.into()),
                ("shim_cgroup", of.shim_cgroup.into()),
                ("io_uid", of.io_uid.into()),
                ("io_gid", of.io_gid.into()),
                ("binary_name", of.binary_name.into()),
                ("root", of.root.into()),
                ("systemd_cgroup", of.systemd_cgroup.into()),
                ("criu_image_path", of.criu_image_path.into()),
                ("criu_work_path", of.criu_work_path.into()),
                ("task_api_address", of.task_api_address.into()),
                ("task_api_version", of.task_api_version.into()),
            ]
        } else if let Some(of) = any.unpack::<runtimeoptions::Options>().map_err(wrong)? {
            vec![("type_url", of.type_url.into()), ("config_path", of.config_path.into())]
        } else {
            vec![("type_url", any.type_url.clone().into())]
        };
    let is_set = |value: &Value| match value {
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let set = fields.into_iter().filter(|(_, value)| is_set(value));
    Ok(Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_set_are_shown() {
        let options = runc::Options { root: "/x".into(), io_uid: 5, ..Default::default() };
        let shown = options_in_json(&Any::pack(&options)).unwrap();
        assert_eq!(shown, serde_json::json!({"io_uid": 5, "root": "/x"}));
        let none = options_in_json(&Any::pack(&runc::Options::default())).unwrap();
        assert_eq!(none, serde_json::json!({}));
    }
}
