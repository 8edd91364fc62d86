package twin.policy_test

import data.twin.policy

test_a_rehearsal_never_touches_a_live_target if {
	rehearsal := with_call({"identity": "gate", "purpose": "rehearse"})
	refused("rehearsal", rehearsal)
	refused("rehearsal", json.remove(rehearsal, ["facts/target_is_live"]))
	asked := object.union(rehearsal, {"facts": {"target_is_live": false}})
	policy.decision.allow with input as asked
}

test_only_effective_is_promoted if {
	every verdict in {"harmless", "rejected", "inconclusive", "Effective", ""} {
		refused("verdict", with_facts({"verdict": verdict}))
	}
	refused("verdict", without_fact("verdict"))
}

test_harmless_is_promoted_where_the_file_allows_it if {
	asked := object.union(with_facts({"verdict": "harmless"}), {"nets": {"harmless": {"promote": true}}})
	policy.decision.allow with input as asked
	rejected := object.union(asked, {"facts": {"verdict": "rejected"}})
	refused("verdict", rejected)
}

test_a_live_target_needs_a_listed_evidence_level if {
	not refused("evidence_level", with_facts({"evidence_level": "real_images"}))
	refused("evidence_level", with_facts({"evidence_level": "control_plane"}))
	refused("evidence_level", without_fact("evidence_level"))
	refused("evidence_level", without_fact("target_is_live"))
}

test_simulated_never_suffices_for_a_live_target_even_when_listed if {
	asked := object.union(
		with_facts({"evidence_level": "simulated"}),
		{"nets": {"evidence": {"levels": ["simulated", "stand_ins"]}}},
	)
	refused("evidence_level", asked)
}

test_a_saved_world_may_be_promoted_to_on_simulated_evidence if {
	policy.decision.allow with input as with_facts({"evidence_level": "simulated", "target_is_live": false})
}

test_rollback_and_break_glass_need_no_evidence if {
	bare := json.remove(promotion, ["facts/verdict", "facts/evidence_level"])
	policy.decision.allow with input as object.union(bare, {"call": {"purpose": "rollback"}})
	policy.decision.allow with input as object.union(
		bare,
		{"call": {"purpose": "break_glass", "identity": "human"}},
	)
}
