//! Which rule applies to which family of actions, and why: a table that is kept in docs/rules.md. A rule that applies to a family by the table
//! must fire for a case of it; one that does not apply must stay out whatever the facts.

mod cases;
mod families;

use std::fmt::Write as _;

use ark_graveyard::Graveyard;
use ark_guest::policy::RuleResult::{Hold, NotApplicable, Violation, Warn};
use ark_guest::policy::{Policy, Rule, Severity};
use cases::answer;
use families::{ActionFamily, COVERAGE, adverse_facts, firing_case, quiet_actions};

#[test]
fn every_cell_of_the_table_is_stated_once() {
    let rules: Vec<u16> = Graveyard::metadata()
        .rules
        .iter()
        .map(|rule| rule.number)
        .collect();
    let rows: Vec<u16> = COVERAGE.iter().map(|row| row.rule).collect();
    assert_eq!(rows, rules);
    for row in &COVERAGE {
        for family in ActionFamily::ALL {
            let stated = row
                .parts
                .iter()
                .filter(|part| part.families.contains(&family))
                .count();
            assert_eq!(stated, 1, "rule {}, {}", row.rule, family.name());
        }
    }
}

#[test]
fn a_rule_that_applies_to_a_family_can_fire_for_it() {
    let mut cells = 0;
    for row in &COVERAGE {
        for part in row.parts.iter().filter(|part| part.applies) {
            for &family in part.families {
                let (action, facts) = firing_case(row.rule, family);
                assert_eq!(ActionFamily::of(&action.parameters), family);
                let answer = answer(row.rule, &action, &facts);
                assert!(
                    matches!(answer.answer, Warn | Violation | Hold),
                    "rule {} says that it applies to {} and does not fire: {answer:?}",
                    row.rule,
                    family.name()
                );
                cells += 1;
            }
        }
    }
    println!("{cells} cells apply, each fired");
}

#[test]
fn a_rule_that_does_not_apply_to_a_family_stays_out_whatever_the_facts() {
    for row in &COVERAGE {
        for part in row.parts.iter().filter(|part| !part.applies) {
            for &family in part.families {
                for action in quiet_actions(family) {
                    let answer = answer(row.rule, &action, &adverse_facts());
                    assert_eq!(
                        answer.answer,
                        NotApplicable,
                        "rule {} says that it does not apply to {}",
                        row.rule,
                        family.name()
                    );
                }
            }
        }
    }
}

#[test]
fn the_page_of_the_rules_is_up_to_date() {
    let page = render_page(&Graveyard::metadata().rules);
    if page != include_str!("../../../docs/rules.md") {
        let new = concat!(env!("CARGO_TARGET_TMPDIR"), "/rules.md");
        std::fs::write(new, &page).expect("a new page");
        panic!("docs/rules.md does not say what the rules say: replace it with {new}");
    }
}

fn render_page(rules: &[Rule]) -> String {
    let mut page = include_str!("families/introduction.md").to_owned();
    page.push_str("\n| rule |");
    for family in ActionFamily::ALL {
        write!(page, " {} |", family.name()).expect("a String");
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(ActionFamily::ALL.len()));
    for (rule, row) in rules.iter().zip(&COVERAGE) {
        write!(page, "\n| {} {} |", rule.number, rule.name).expect("a String");
        for family in ActionFamily::ALL {
            page.push_str(if row.applies_to(family) {
                " yes |"
            } else {
                " |"
            });
        }
    }
    page.push('\n');
    let mut category = "";
    for (rule, row) in rules.iter().zip(&COVERAGE) {
        if rule.category != category {
            category = &rule.category;
            write!(page, "\n## {category}\n").expect("a String");
        }
        write!(
            page,
            "\n### {} {}\n\n{} {}\n\n",
            rule.number,
            rule.name,
            rule.description,
            consequence(rule)
        )
        .expect("a String");
        for part in row.parts {
            let names: Vec<&str> = part.families.iter().map(|family| family.name()).collect();
            let names = if names.len() == ActionFamily::ALL.len() {
                "every family".to_owned()
            } else {
                names.join(", ")
            };
            let applies = if part.applies {
                "Applies to"
            } else {
                "Does not apply to"
            };
            writeln!(page, "* {applies} {names}: {}.", part.why).expect("a String");
        }
    }
    page
}

fn consequence(rule: &Rule) -> &'static str {
    match rule.severity {
        Severity::Low => "It warns.",
        _ if rule.hold => "It holds the action for an approval.",
        _ => "It denies.",
    }
}
