-- Whatever is stored goes to the gateway, which leaves alone what no rule takes, and its own results.
function OnStoredInstance(id, tags, metadata, origin)
  SendToModality(id, "CFCAM")
end
