//! An image's config, as far as it shapes the containers made from the image.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::defaults::DEFAULT_ENV;
use crate::options::merge_env;
use crate::user::RootFiles;
use crate::{Error, Result, Spec};

/// The `config` object of an image's config blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Who runs it: `user`, `uid`, or either with `:group` or `:gid`.
    pub user: String,
    /// The environment, as `NAME=value`.
    pub env: Vec<String>,
    /// What always runs.
    pub entrypoint: Vec<String>,
    /// Its arguments unless others are given, or what runs where there is no entrypoint.
    pub cmd: Vec<String>,
    /// The working directory; empty is `/`.
    pub working_dir: String,
    /// Labels for containers made from it.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop, such as `SIGQUIT` or `3`.
    pub stop_signal: String,
}

impl ImageConfig {
    /// Reads an image's config blob. `null` is the same as absent.
    pub fn parse(json: &[u8]) -> Result<ImageConfig> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Image {
            config: Option<Fields>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Fields {
            user: Option<String>,
            env: Option<Vec<String>>,
            entrypoint: Option<Vec<String>>,
            cmd: Option<Vec<String>>,
            working_dir: Option<String>,
            labels: Option<BTreeMap<String, String>>,
            stop_signal: Option<String>,
        }
        let value: serde_json::Value = serde_json::from_slice(json).map_err(Error::ImageConfig)?;
        let value = crate::types::object(value).map_err(Error::ImageConfig)?;
        let image: Image = serde_json::from_value(value).map_err(Error::ImageConfig)?;
        let fields = image.config.unwrap_or_default();
        Ok(ImageConfig {
            user: fields.user.unwrap_or_default(),
            env: fields.env.unwrap_or_default(),
            entrypoint: fields.entrypoint.unwrap_or_default(),
            cmd: fields.cmd.unwrap_or_default(),
            working_dir: fields.working_dir.unwrap_or_default(),
            labels: fields.labels.unwrap_or_default(),
            stop_signal: fields.stop_signal.unwrap_or_default(),
        })
    }
}

impl Spec {
    /// Takes program, environment, directory, user and groups from an image's config.
    ///
    /// `args`, unless empty, take the place of the image's `cmd`. Variables that the spec has already
    /// win over the image's. `root` is looked into for the user's numbers and further groups.
    pub fn apply_image_config(
        &mut self,
        config: &ImageConfig,
        args: &[String],
        root: &dyn RootFiles,
    ) -> Result<()> {
        let default = [DEFAULT_ENV.to_owned()];
        let env = if config.env.is_empty() { default.as_slice() } else { &config.env };
        let process = self.process_mut();
        process.env = merge_env(env, &process.env);
        let rest = if args.is_empty() { &config.cmd } else { args };
        process.args = config.entrypoint.iter().chain(rest).cloned().collect();
        let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
        process.cwd = cwd.to_owned();
        if config.user.is_empty() {
            return self.set_additional_gids("root", root);
        }
        self.set_user(&config.user, root)?;
        let uid = self.process_mut().user.uid.to_string();
        self.set_additional_gids(&uid, root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::NoFiles;

    #[test]
    fn arguments_replace_the_command_only() {
        let json = br#"{"architecture":"amd64","config":{"Entrypoint":["/e"],"Cmd":["c","d"],
            "Env":["A=1","B=2"],"WorkingDir":"/w","Labels":null,"Volumes":{"/v":{}}}}"#;
        let config = ImageConfig::parse(json).unwrap();
        let mut spec = Spec::linux_default("n", "i");
        spec.add_env(&["B=3".into(), "C=4".into()]);
        spec.apply_image_config(&config, &[], &NoFiles).unwrap();
        let process = spec.process.as_ref().unwrap();
        assert_eq!(process.args, ["/e", "c", "d"]);
        assert_eq!(process.env, ["A=1", "B=3", "C=4"]);
        assert_eq!(process.cwd, "/w");
        spec.apply_image_config(&config, &["x".into()], &NoFiles).unwrap();
        assert_eq!(spec.process.unwrap().args, ["/e", "x"]);
    }

    #[test]
    fn an_empty_config_gives_defaults() {
        for json in [&b"{}"[..], br#"{"config":null}"#, br#"{"config":{"Env":null}}"#] {
            let config = ImageConfig::parse(json).unwrap();
            let mut spec = Spec::linux_default("n", "i");
            spec.apply_image_config(&config, &[], &NoFiles).unwrap();
            let process = spec.process.unwrap();
            assert_eq!(process.env, [DEFAULT_ENV]);
            assert_eq!(process.cwd, "/");
            assert_eq!(process.user.additional_gids, [0]);
        }
        assert!(ImageConfig::parse(b"[]").is_err());
    }
}
