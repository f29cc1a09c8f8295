//! What is made from the commands' definitions: completion for shells.

use stowd_testing::daemon::programs;
use stowd_testing::process::Run;

#[test]
fn shells_complete_commands() {
    stowd_testing::need!(stowd);
    let completion =
        |shell: &str| Run::program(programs().join("stowctl")).args(["completion", shell]).ok();
    let script = format!(
        "{}\nCOMP_WORDS=(stowctl images pu); COMP_CWORD=2; _stowctl stowctl pu images\n\
         printf '%s ' \"${{COMPREPLY[@]}}\"",
        completion("bash")
    );
    assert_eq!(Run::program("bash").input(script).ok(), "pull push ");
    assert!(completion("zsh").starts_with("#compdef stowctl"));
    assert!(completion("fish").contains("complete -c stowctl"));
    Run::program(programs().join("stowctl")).args(["completion", "tcsh"]).fails();
}
