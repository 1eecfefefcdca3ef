//! What cannot be a task is refused by the compiler, with a text that says what to do.

#[test]
fn what_cannot_be_a_task_is_refused_with_a_text_that_helps() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
