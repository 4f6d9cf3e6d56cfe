//! `oomScoreAdj`: whom the kernel ends first when memory is short.

/// Sets the agent's own score; one that cannot be set is told and changes nothing else, as in kube-proxy.
pub(super) fn adjust(score: Option<i16>) {
    let Some(score) = score else { return };
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, %error, "oomScoreAdj cannot be set; it needs CAP_SYS_RESOURCE");
    }
}
