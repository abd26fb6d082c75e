"""Everything that is known of a finetune before its model is loaded: samples, template, layers, memory, minutes."""
