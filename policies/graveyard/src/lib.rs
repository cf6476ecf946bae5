pub struct G;
impl ark_guest::policy::Policy for G {
    fn metadata() -> ark_guest::policy::Metadata { todo!() }
    fn evaluate(_: &ark_guest::policy::Action, _: &ark_guest::policy::Facts) -> ark_guest::policy::Verdict { todo!() }
}
ark_guest::export_policy!(G);
