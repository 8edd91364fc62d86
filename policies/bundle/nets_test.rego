package twin.policy_test

import data.twin.policy

test_a_table_is_dropped_for_nobody if {
	every who in {
		{"identity": "promoter", "purpose": "promote"},
		{"identity": "promoter", "purpose": "rollback"},
		{"identity": "human", "purpose": "break_glass"},
		{"identity": "agent", "purpose": "propose"},
	} {
		refused("drop", with_call(object.union({"kind": "drop_table"}, who)))
	}
}

test_a_phrase_is_found_however_it_is_written if {
	every sql in {"DROP TABLE orders", "select 1;drop\n\ttable  orders", "drop/**/table orders"} {
		refused("drop", with_call({"kind": "set_env", "params": {"env": [{"value": sql}]}}))
	}
	refused("drop", with_call({"tool": "drop_table"}))
	refused("drop", with_call({"params": {"drop table": 1}}))
	not refused("drop", with_call({"params": {"note": "backdrop tablecloth; drop the table"}}))
}

test_an_empty_list_of_nets_is_no_list if refused("nets_form", with_nets({"never": []}))

test_a_net_that_cannot_be_read_denies if {
	refused("never", with_nets({"never": [{"name": "drop", "actions": ["drop_table"]}]}))
}

test_nets_of_the_wrong_shape_deny if {
	every path in {
		"nets/never", "nets/nodes/max", "nets/restart_rate/per_minute_max", "nets/freezes", "nets/evidence/levels",
		"nets/harmless/promote",
	} {
		every wrong in {"x", -1, 1.5, null} {
			refused("nets_form", json.patch(promotion, [{"op": "replace", "path": path, "value": wrong}]))
		}
	}
}

test_a_net_of_the_wrong_shape_denies if {
	every field in {
		"name", "source", "actions", "any_action", "namespaces", "subnets", "labels", "phrases", "actions/0",
		"phrases/0",
	} {
		path := concat("/", ["nets/never/0", field])
		asked := json.patch(promotion, [{"op": "replace", "path": path, "value": 7}])
		refused("nets_form", asked)
		refused("never", asked)
	}
}

test_a_freeze_of_the_wrong_shape_denies if {
	every field in object.keys(once) {
		every wrong in {[], -1, 1.5, null} {
			refused("freeze", at(5000, [object.union(once, {field: wrong})]))
		}
	}
	refused("freeze", at(5000, [object.union(once, {"end_s": 1000})]))
}

firewall(facts) := object.union(
	json.remove(promotion, ["facts/subnet"]),
	{
		"call": {"kind": "set_firewall_rule"},
		"facts": facts,
		"nets": {"never": [net("fire", {"actions": ["set_firewall_rule"], "subnets": ["payment"]})]},
	},
)

test_the_payment_subnet_keeps_its_firewall_rules if {
	refused("fire", firewall({"subnet": "payment"}))
	refused("fire", firewall({"subnet": " Payment "}))
	refused("fire", firewall({}))
	refused("fire", firewall({"subnet": ""}))
	refused("fire", firewall({"subnet": null}))
	not refused("fire", firewall({"subnet": "shop"}))
}

test_a_net_over_any_action_spares_reads_and_other_namespaces if {
	nets := {"never": [net("system", {"any_action": true, "namespaces": ["kube-system"]})]}
	asked := with_nets(nets)
	not refused("system", asked)
	refused("system", object.union(asked, {"call": {"target": {"namespace": "kube-system"}}}))
	not refused("system", object.union(
		asked,
		{"call": {"kind": "read", "purpose": "read", "target": {"namespace": "kube-system"}}},
	))
}

test_a_label_protects if {
	asked := with_nets({"never": [net("label", {"any_action": true, "labels": {"protected": "true"}})]})
	not refused("label", asked)
	refused("label", object.union(asked, {"facts": {"labels": {"protected": "true"}}}))
	refused("label", json.remove(asked, ["facts/labels"]))
}

end_state(nodes, later) := with_facts({"predicted_end_state": {"nodes": nodes, "max_replicas_nodes": later}})

test_a_hundred_nodes_and_no_more if {
	not refused("nodes", end_state(100, 100))
	refused("nodes", end_state(101, 100))
	refused("nodes", end_state(100, 101))
	not refused("nodes", end_state(0, 0))
}

test_an_end_state_that_is_unknown_or_no_count_denies if {
	refused("nodes", without_fact("predicted_end_state"))
	every nodes in {"7", -1, 1.5, null, true, [1]} {
		refused("nodes", end_state(nodes, 1))
		refused("nodes", end_state(1, nodes))
	}
}

test_a_proposal_is_judged_on_an_end_state_if_there_is_one if {
	proposal := object.union(without_fact("predicted_end_state"), {"call": {"identity": "agent", "purpose": "propose"}})
	policy.decision.allow with input as proposal
	refused("nodes", object.union(proposal, {"facts": {"predicted_end_state": {"nodes": 101, "max_replicas_nodes": 1}}}))
}

rate(predicted, last) := with_facts({"pod_terminations_predicted": predicted, "pod_terminations_last_minute": last})

test_five_terminations_a_minute_and_no_more if {
	not refused("restart_rate", rate(5, 0))
	not refused("restart_rate", rate(1, 4))
	refused("restart_rate", rate(6, 0))
	refused("restart_rate", rate(1, 5))
	not refused("restart_rate", rate(0, 9))
}

test_unknown_terminations_deny if {
	refused("restart_rate", without_fact("pod_terminations_predicted"))
	refused("restart_rate", without_fact("pod_terminations_last_minute"))
	refused("restart_rate", rate("1", 1))
	refused("restart_rate", rate(1, 1.5))
	refused("restart_rate", rate(null, 0))
	refused("restart_rate", rate(-4, 5))
}

test_break_glass_keeps_the_rate_and_rollback_does_not_wait if {
	busy := rate(3, 3)
	refused("restart_rate", object.union(busy, {"call": {"identity": "human", "purpose": "break_glass"}}))
	not refused("restart_rate", object.union(busy, {"call": {"purpose": "rollback"}}))
}

once := {"name": "freeze", "start_s": 1000, "end_s": 2000, "repeat_s": 0, "until": "two thousand", "source": "nets:9"}

at(now_s, freezes) := object.union(with_facts({"now_s": now_s}), {"nets": {"freezes": freezes}})

test_a_freeze_holds_from_its_start_to_just_before_its_end if {
	not refused("freeze", at(999, [once]))
	refused("freeze", at(1000, [once]))
	refused("freeze", at(1999, [once]))
	not refused("freeze", at(2000, [once]))
	check_of("freeze", at(1000, [once])).reason == "freeze until two thousand"
}

test_a_weekly_freeze_comes_again if {
	weekly := object.union(once, {"repeat_s": 604800})
	every week in [0, 1, 2900] {
		not refused("freeze", at(999 + (week * 604800), [weekly]))
		refused("freeze", at(1000 + (week * 604800), [weekly]))
		refused("freeze", at(1999 + (week * 604800), [weekly]))
		not refused("freeze", at(2000 + (week * 604800), [weekly]))
	}
}

test_a_weekly_freeze_that_spans_the_turn_of_the_period_holds_before_its_first_start if {
	late := object.union(once, {"start_s": 604000, "end_s": 606000, "repeat_s": 604800})
	refused("freeze", at(1199, [late]))
	not refused("freeze", at(1200, [late]))
}

test_an_unknown_time_or_a_freeze_that_cannot_be_read_denies if {
	refused("freeze", without_fact("now_s"))
	refused("freeze", with_facts({"now_s": "1800000000"}))
	refused("freeze", at(5000, [json.remove(once, ["end_s"])]))
	refused("freeze", at(5000, [object.union(once, {"start_s": "1000"})]))
	refused("freeze", at(5000, null))
}

test_rollback_and_break_glass_do_not_wait_for_a_freeze if {
	policy.decision.allow with input as object.union(at(1500, [once]), {"call": {"purpose": "rollback"}})
	policy.decision.allow with input as object.union(
		at(1500, [once]),
		{"call": {"purpose": "break_glass", "identity": "human"}},
	)
}
