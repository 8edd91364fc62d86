package twin.policy_test

import data.twin.policy

test_a_whole_promotion_is_allowed if policy.decision.allow with input as promotion

test_every_check_is_listed_also_when_there_is_no_input if {
	names := {check.name | some check in policy.decision.checks} with input as {}
	names == {
		"call_form", "nets_form", "identity", "purpose", "rehearsal",
		"nodes", "restart_rate", "freeze", "verdict", "evidence_level",
	}
}

test_nothing_passes_without_input if {
	every check in policy.decision.checks {
		check.pass == false
	} with input as {}
	not policy.decision.allow with input as {}
}

test_a_call_without_one_of_its_fields_is_denied if {
	every field in {"tool", "kind", "target", "params", "identity", "purpose"} {
		refused("call_form", json.remove(promotion, [concat("/", ["call", field])]))
	}
}

test_a_field_of_the_wrong_type_is_denied if {
	every path in {
		"call/tool", "call/target", "call/target/kind", "call/target/namespace", "call/target/name", "call/params",
		"facts",
	} {
		refused("call_form", json.patch(promotion, [{"op": "replace", "path": path, "value": 7}]))
	}
	refused("call_form", with_call({"tool": " "}))
}

test_an_unknown_kind_is_denied_by_name if {
	check := check_of("call_form", with_call({"kind": "Drop_Table"}))
	check.pass == false
	check.reason == "\"Drop_Table\" is no action that this policy knows"
}

test_an_unknown_identity_or_purpose_is_denied_by_name if {
	reason_of("call_form", with_call({"identity": "root"})) == "\"root\" is no identity that this policy knows"
	reason_of("call_form", with_call({"purpose": "fun"})) == "\"fun\" is no purpose that this policy knows"
	refused("identity", with_call({"identity": "root"}))
	refused("purpose", with_call({"purpose": "fun"}))
}

test_a_local_agent_may_read_and_propose if {
	not refused("identity", with_call({"identity": "local_agent", "purpose": "propose", "kind": "scale"}))
}

test_only_the_promoter_promotes_everything if {
	not refused("identity", with_call({"identity": "promoter"}))
	every identity in {"agent", "gate", "human"} {
		refused("identity", with_call({"identity": identity}))
	}
}

test_a_local_agent_promotes_node_local_fixes_only if {
	not refused("identity", with_call({"identity": "local_agent", "kind": "clear_disk"}))
	refused("identity", with_call({"identity": "local_agent", "kind": "scale"}))
}

test_only_a_human_breaks_the_glass if {
	not refused("identity", with_call({"identity": "human", "purpose": "break_glass"}))
	every identity in {"agent", "gate", "local_agent", "promoter"} {
		refused("identity", with_call({"identity": identity, "purpose": "break_glass"}))
	}
}

test_a_write_is_not_passed_off_as_a_read if {
	refused("purpose", with_call({"identity": "agent", "purpose": "read"}))
	refused("purpose", with_call({"kind": "read"}))
	not refused("purpose", with_call({"identity": "agent", "purpose": "read", "kind": "read"}))
}

# fixtures -----------------------------------------------------------------------------------------------------

promotion := {
	"call": {
		"tool": "promote",
		"kind": "restart",
		"target": {"kind": "Deployment", "namespace": "shop", "name": "orders"},
		"params": {},
		"identity": "promoter",
		"purpose": "promote",
	},
	"facts": {
		"now_s": 1800000000,
		"predicted_end_state": {"nodes": 40, "replicas": 12, "max_replicas_nodes": 60},
		"pod_terminations_predicted": 2,
		"pod_terminations_last_minute": 1,
		"subnet": "shop",
		"labels": {"team": "orders"},
		"verdict": "effective",
		"evidence_level": "stand_ins",
		"target_is_live": true,
	},
	"nets": {
		"never": [net("drop", {"actions": ["drop_table"], "phrases": ["drop table"]})],
		"nodes": {"max": 100, "source": "nets:3"},
		"restart_rate": {"per_minute_max": 5, "source": "nets:4"},
		"freezes": [],
		"evidence": {"levels": ["stand_ins", "real_images"], "source": "nets:5"},
		"harmless": {"promote": false, "source": "nets:6"},
	},
}

net(name, more) := object.union(
	{
		"name": name,
		"any_action": false,
		"actions": [],
		"namespaces": [],
		"subnets": [],
		"labels": {},
		"phrases": [],
		"source": "nets:1",
	},
	more,
)

with_call(more) := object.union(promotion, {"call": more})

with_facts(more) := object.union(promotion, {"facts": more})

without_fact(name) := json.remove(promotion, [concat("/", ["facts", name])])

with_nets(more) := object.union(promotion, {"nets": more})

check_of(name, asked) := check if {
	some check in policy.decision.checks with input as asked
	check.name == name
}

reason_of(name, asked) := check_of(name, asked).reason

refused(name, asked) if {
	check_of(name, asked).pass == false
	not policy.decision.allow with input as asked
}
