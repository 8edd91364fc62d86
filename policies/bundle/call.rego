# Who asks for what, and whether the question can be understood at all.
package twin.policy

reads := {"read"}

node_local_actions := {"clear_cache", "clear_disk", "restart"}

actions := node_local_actions | {
	"cordon",
	"drain",
	"drop_table",
	"evict",
	"fail_over",
	"reissue_certificate",
	"resize_node_pool",
	"rollout_pause",
	"rollout_resume",
	"rollout_undo",
	"scale",
	"set_config",
	"set_env",
	"set_firewall_rule",
	"set_flag",
	"set_hpa",
	"set_image",
	"set_network_policy",
	"set_pdb",
	"set_probe",
	"set_quota",
	"set_resources",
	"set_route",
	"shed_load",
	"shift_traffic",
	"suspend_gitops",
	"terminate_session",
	"uncordon",
	"warm_cache",
}

kinds := reads | actions

purposes := {"break_glass", "promote", "propose", "read", "rehearse", "rollback"}

# Only the promoter writes to production. A local agent acts under a standing receipt; a human, by break-glass.
purposes_of := {
	"agent": {"propose", "read"},
	"gate": {"read", "rehearse"},
	"human": {"break_glass", "propose", "read", "rehearse"},
	"local_agent": {"promote", "propose", "read"},
	"promoter": {"promote", "read", "rollback"},
}

call_form := passed("call_form", "the call can be read", "") if {
	is_name(input.call.tool)
	input.call.kind in kinds
	is_object(input.call.target)
	is_name(input.call.target.kind)
	is_string(input.call.target.namespace)
	is_name(input.call.target.name)
	is_object(input.call.params)
	purposes_of[input.call.identity]
	input.call.purpose in purposes
	is_object(input.facts)
} else := failed("call_form", $"\"{input.call.kind}\" is no action that this policy knows", "") if {
	is_string(input.call.kind)
	not input.call.kind in kinds
} else := failed("call_form", $"\"{input.call.identity}\" is no identity that this policy knows", "") if {
	is_string(input.call.identity)
	not purposes_of[input.call.identity]
} else := failed("call_form", $"\"{input.call.purpose}\" is no purpose that this policy knows", "") if {
	is_string(input.call.purpose)
	not input.call.purpose in purposes
} else := failed("call_form", "tool, kind, target, params, identity, purpose or facts is missing or of the wrong type", "")

default identity := {"name": "identity", "pass": false, "reason": "identity and purpose cannot be read", "source": ""}

identity := passed("identity", $"{input.call.identity} may {input.call.purpose}", "") if {
	input.call.purpose in purposes_of[input.call.identity]
	input.call.identity != "local_agent"
} else := passed("identity", $"local_agent may {input.call.purpose}", "") if {
	input.call.identity == "local_agent"
	input.call.purpose in {"propose", "read"}
} else := passed("identity", $"local_agent may {input.call.kind} on its node", "") if {
	input.call.identity == "local_agent"
	input.call.purpose == "promote"
	input.call.kind in node_local_actions
} else := failed("identity", $"local_agent may not {input.call.kind}: it is confined to node-local fixes", "") if {
	input.call.identity == "local_agent"
	input.call.purpose == "promote"
} else := failed("identity", $"{input.call.identity} may not {input.call.purpose}", "") if {
	is_string(input.call.identity)
	is_string(input.call.purpose)
}

# Without this, a write could be passed off as a read, which is asked for little else.
default purpose := {"name": "purpose", "pass": false, "reason": "kind and purpose cannot be read", "source": ""}

purpose := passed("purpose", "a read", "") if {
	input.call.purpose == "read"
	input.call.kind in reads
} else := passed("purpose", $"{input.call.purpose} of {input.call.kind}", "") if {
	input.call.purpose in (purposes - {"read"})
	input.call.kind in actions
} else := failed("purpose", $"{input.call.kind} is not a thing to {input.call.purpose}", "") if {
	is_string(input.call.kind)
	is_string(input.call.purpose)
}
